//! Terminals and job control, through a pseudo-terminal that Python drives.

use std::process::Command;

use roar_tests::{Project, python, quiet_trace};

/// Starts an interactive bash on a terminal of its own; `step(text, answer)` types and
/// waits for what must appear.
const TERMINAL: &str = r#"
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(PS1='$ ', TERM='dumb', ROAR=sys.argv[1])
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
seen = b''
def step(text, answer, limit=15):
    global seen
    os.write(fd, text.encode())
    end = time.time() + limit
    while answer.encode() not in seen:
        if time.time() > end:
            sys.exit(f'{answer!r} does not come after {text!r}: {seen!r}')
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 65536)
    seen = seen.split(answer.encode(), 1)[1]
step('stty -echo\n', '$ ')
"#;

fn terminal(steps: &str) {
    let project = Project::new();
    let mut command = Command::new(python());
    let roar = quiet_trace();
    command.args(["-c", &format!("{TERMINAL}{steps}"), &roar]);
    let output = command.current_dir(project.path("")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
}

#[test]
fn the_command_has_the_terminal() {
    terminal(
        r#"
step('$ROAR bash -c \'test -t 0 && test -t 1 && tty && read x < /dev/tty && echo got=$x\'\n', '/dev/pts/')
step('word\n', 'got=word')
"#,
    );
}

#[test]
fn interrupt_reaches_the_command_once_and_ends_roar_alike() {
    terminal(
        r#"
step('$ROAR bash -c \'trap \"echo h""it; exit 5\" INT; echo u""p; while :; do sleep 0.1; done\'\n', 'up')
step('\x03', 'hit')
step('echo code=$?\n', 'code=5')
os.write(fd, b'$ROAR sleep 30\n')
time.sleep(1)
step('\x03', '$ ')
step('echo code=$?\n', 'code=130')
"#,
    );
}

#[test]
fn stop_and_foreground() {
    terminal(
        r#"
step('$ROAR bash -c \'echo u""p; sleep 1; echo d""one; exit 3\'\n', 'up')
step('\x1a', 'Stopped')
step('echo code=$?\n', 'code=148')
time.sleep(1.5)
step('jobs\n', 'Stopped')
step('fg\n', 'done')
step('echo code=$?\n', 'code=3')
"#,
    );
}

#[test]
fn stop_and_background() {
    terminal(
        r#"
step('$ROAR bash -c \'echo u""p; sleep 1; echo d""one > file\'\n', 'up')
step('\x1a', 'Stopped')
step('bg\n', '$ ')
step('wait; cat file\n', 'done')
"#,
    );
}

#[test]
fn a_stop_sent_to_the_command_stops_the_job() {
    terminal(
        r#"
step('$ROAR bash -c \'echo u""p; kill -STOP $$; echo o""n; exit 4\'\n', 'Stopped')
step('kill -CONT %1; fg\n', 'on')
step('echo code=$?\n', 'code=4')
"#,
    );
}
