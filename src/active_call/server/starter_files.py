"""What a first start needs and does not find: a config file, a development certificate, a playbook. Never overwrites."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from active_call.server.certificate import write_development_certificate

CERTIFICATE, KEY = Path("certs/cert.pem"), Path("certs/key.pem")


def starter_text(name: str) -> str:
    """A file shipped with the package: `active-call.toml`, `greeting.md`, `demo.md`."""
    return (resources.files("active_call.server") / "starter" / name).read_text(encoding="utf-8")


def write_starter_files(config_file: Path, names: list[str]) -> list[Path]:
    """Write what is missing for a first start in the working directory; gives what was written. `names` go into the certificate."""
    written = []
    for path, source in ((config_file, "active-call.toml"), (Path("config/playbook/greeting.md"), "greeting.md")):
        if not path.exists() and not (source.endswith(".md") and (Path("playbooks") / source).exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(starter_text(source), encoding="utf-8")
            written.append(path)
    if not CERTIFICATE.exists() and not KEY.exists():
        write_development_certificate(CERTIFICATE, KEY, names)
        written += [CERTIFICATE, KEY]
    return written
