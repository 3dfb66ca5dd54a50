"""The ways in which a command is run: the columns of the tables.

roar's own ways take no digests but `hashing`, which is what `roar trace` does unasked. A way
is a function from a command to the command that runs it so.
"""

import os
import shutil
import subprocess

NATIVE = "native"
ACCEL_ON = "accel on"
ACCEL_OFF = "accel off"
HASHING = "hashing"
BEFORE_6_6 = "accel on, before 6.6"
STRACE = "strace"
PEER = "roar-cli 0.4.7"
PEER_RUN = PEER + " run"
REPROZIP = "reprozip"
OWN = (ACCEL_ON, ACCEL_OFF, HASHING, BEFORE_6_6)

# The calls of the supervisor's filter that name a file or make a process.
CALLS = (
    "open,openat,openat2,creat,open_by_handle_at,mknod,mknodat,rename,renameat,renameat2,link,"
    "linkat,unlink,unlinkat,truncate,execve,execveat,fork,vfork,clone,clone3,exit_group"
)
PEER_TRACERS = {
    "ptrace": "roar-tracer",
    "preload": "roar-tracer-preload",
    "eBPF": "roar-tracer-ebpf",
}


def prefixed(*prefix):
    return lambda command: [*prefix, *command]


def own(roar, before_6_6):
    def trace(*options):
        return (roar, "trace", "-q", *options, "--")

    accelerated = trace("--no-hash", "--accel", "on")
    return {
        NATIVE: prefixed(),
        ACCEL_ON: prefixed(*accelerated),
        ACCEL_OFF: prefixed(*trace("--no-hash", "--accel", "off")),
        HASHING: prefixed(*trace()),
        BEFORE_6_6: prefixed(before_6_6, *accelerated),
    }


def strace():
    path = shutil.which("strace")
    if path is None:
        return {}
    options = ("-f", "--seccomp-bpf", "-y", "-qq", "-o", os.devnull, "-e", "trace=" + CALLS)
    return {STRACE: prefixed(path, *options)}


def installed(venv, python, package):
    """Whether a package is, or could be, installed in a virtual environment of its own."""
    ready = os.path.join(venv, ".ready")
    if os.path.exists(ready):
        return True
    steps = (
        [python, "-m", "venv", venv],
        [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--quiet",
         "--disable-pip-version-check", package],
    )
    try:
        for step in steps:
            subprocess.run(step, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    open(ready, "w").close()
    return True


def site_packages(venv):
    python = os.path.join(venv, "bin", "python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run(
        [python, "-c", where], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def peer_tracers(venv, scratch, env):
    """The tracers that the peer's package brings, without its hashing and recording: those
    whose report has a file that was read."""
    directory = os.path.join(site_packages(venv), "roar", "bin")
    seen, script = os.path.join(scratch, "seen"), os.path.join(scratch, "reads.sh")
    for path, text in ((seen, "x"), (script, "cat %s\n" % seen)):
        with open(path, "w") as file:
            file.write(text)
    found = {}
    for name, program in PEER_TRACERS.items():
        path = os.path.join(directory, program)
        report = os.path.join(scratch, program)
        ran = os.path.exists(path) and subprocess.run(
            [path, report, "sh", script], env=env, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL).returncode == 0
        if ran and os.path.exists(report):
            with open(report, "rb") as file:
                works = seen.encode() in file.read()
            if works:
                found["%s %s" % (PEER, name)] = prefixed(path, report)
    return found


def peers(cache, scratch, python, env):
    """The peers that install here, by name, and what was left out and why."""
    found, left_out = {}, []
    venv = os.path.join(cache, "roar-cli")
    if installed(venv, python, "roar-cli==0.4.7"):
        tracers = peer_tracers(venv, scratch, env)
        found.update(tracers)
        missing = [name for name in PEER_TRACERS if "%s %s" % (PEER, name) not in tracers]
        left_out += ["%s %s: does not work here" % (PEER, name) for name in missing]
    else:
        left_out.append(PEER + ": does not install here")
    venv = os.path.join(cache, "reprozip")
    if installed(venv, python, "reprozip"):
        found[REPROZIP] = prefixed(
            os.path.join(venv, "bin", "reprozip"), "trace", "--dont-identify-packages",
            "--dont-find-inputs-outputs", "-w", "-d", os.path.join(scratch, "reprozip"))
    else:
        left_out.append(REPROZIP + ": does not install here")
    return found, left_out


def is_rival(way):
    return way.startswith((STRACE, PEER, REPROZIP))
