#!/bin/sh
# Runs the tests as `make test` does: in four processes what may run beside others, then one by one what judges timing or load.
# With arguments: pytest with these, in one process; "not slow" unless they say -m.
set -u
python=${PYTHON:-python3}

case " $* " in
    "  ") ;;
    *" -m "*) exec "$python" -m pytest "$@" ;;
    *) exec "$python" -m pytest -m "not slow" "$@" ;;
esac

"$python" -m pytest -q -n "${TEST_PROCESSES:-4}" --dist loadgroup --no-loadscope-reorder -m "not slow and not alone"
together=$?
"$python" -m pytest -q -m "alone and not slow"
alone=$?
[ "$together" -eq 0 ] && [ "$alone" -eq 0 ]
