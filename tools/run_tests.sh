#!/bin/sh
# Runs the tests as `make test` does. Three parts:
#   real-time   what talks to real programs and waits for real time: five processes
#   alone       browsers, and what recognises speech by ear: two processes, when the real-time part is over
#   pure        all else: three processes in the background, which take what time the other two leave
# With `load` as first argument, as `make test-load` does, one part:
#   load        what judges load, timing or a whole machine: one test after another, with nothing beside it
# Each part keeps its own cache, so --last-failed alone runs what failed in each of them, one by one; a part that did not come to its end
# runs again as a whole. With other arguments: pytest with these, in one process; "not slow" unless they say -m.
set -u
python=${PYTHON:-python3}
only_failed=no
kind=usual
if [ "${1:-}" = load ]; then
    kind=load
    shift
fi

case " $* " in
    "  ") ;;
    " --last-failed ") only_failed=yes ;;
    *" -m "*) exec "$python" -m pytest "$@" ;;
    *) [ "$kind" = usual ] || exec "$python" -m pytest -m "load and not slow" "$@"
        exec "$python" -m pytest -m "not slow" "$@" ;;
esac

cache=.pytest_cache
# Of tests/media these wait for real time; the rest has its own clock.
media=$(find tests/media -name test_asked_for.py -o -name test_playing_files.py -o -name test_processes.py \
    -o -path '*/record/test_*.py' -o -path '*/send/test_bridging.py' -o -name test_wire.py)
real_time="tests/interop tests/security tests/net tests/bench $media"
pure=$(for folder in tests/*/; do
    case " $real_time " in *" ${folder%/} "*) ;; *) [ -z "$(find "$folder" -name 'test_*.py')" ] || echo "${folder%/}" ;; esac
done)
without=$(for file in $media; do echo "--ignore=$file"; done)
alone=$(grep -rl --include='test_*.py' 'mark\.alone' tests)
load=$(grep -rl --include='test_*.py' 'mark\.load' tests)

# part NAME MARKS PATHS… -- ARGUMENTS…: run one part and keep how it ended. The arguments are for a whole run.
part() {
    name=$1 marks=$2
    shift 2
    paths=
    while [ "$1" != "--" ]; do paths="$paths $1"; shift; done
    shift
    ended=$(cat "$cache/$name/ended" 2>/dev/null)
    mkdir -p "$cache/$name"
    if [ "$only_failed" = yes ] && [ "$ended" = 0 ]; then
        return 0
    elif [ "$only_failed" = yes ] && [ "$ended" = 1 ]; then
        set -- --last-failed
    else
        set -- --cache-clear "$@"
    fi
    echo unfinished >"$cache/$name/ended"
    # shellcheck disable=SC2086
    $politely "$python" -m pytest -q -o cache_dir="$cache/$name" -m "$marks" "$@" $paths
    result=$?
    mkdir -p "$cache/$name"
    echo "$result" >"$cache/$name/ended"
    return "$result"
}

# A fresh checkout has no bytecode yet, and each of hundreds of processes would compile all of it, a second of CPU each. It is written once,
# also where the environment says that nobody should.
unset PYTHONDONTWRITEBYTECODE
compiled() { "$python" -m compileall -q -j 2 src; }

usual="not slow and not alone and not load"
run_pure() { part pure "$usual" $pure $without -- --timeout=900 --processes 3; }
run_real_time() { part real-time "$usual" $real_time -- --processes 5; }
run_alone() { part alone "alone and not load and not slow" $alone -- --processes 2; }
run_load() { part load "load and not slow" $load --; }

results=
politely=
mkdir -p "$cache"
if [ "$kind" = load ]; then
    run_load || results=" load"
elif [ "$only_failed" = yes ]; then
    run_pure || results="$results pure"
    run_real_time || results="$results real-time"
    run_alone || results="$results alone"
else
    compiled
    politely="nice -n 19"
    TEST_PORT_BLOCK=5 # the real-time part has the first five
    export TEST_PORT_BLOCK
    run_pure >"$cache/pure-output.txt" 2>&1 &
    background=$!
    politely=
    unset TEST_PORT_BLOCK
    trap 'kill "$background" 2>/dev/null; exit 130' INT TERM
    run_real_time || results="$results real-time"
    run_alone || results="$results alone"
    wait "$background" || results="$results pure"
    echo "The pure tests, which ran beside these:"
    cat "$cache/pure-output.txt"
fi

[ -z "$results" ] && exit 0
echo "Failed in these parts:$results"
for name in $results; do
    echo "$name (ended with $(cat "$cache/$name/ended")):"
    [ ! -f "$cache/$name/v/cache/lastfailed" ] || sed -n 's/^  "\(.*\)": true,\{0,1\}$/  \1/p' "$cache/$name/v/cache/lastfailed"
done
exit 1
