//! Real programs do the same traced as untraced.

use std::path::Path;

use roar_tests::{Report, is_root, python};

use crate::compare::Pair;

fn complete(report: &Report) {
    assert_eq!(report.gaps(), Vec::<String>::new());
}

#[test]
fn git_builds_the_same_history() {
    let script = r#"
set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null HOME=$PWD
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@a GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@c
at() { export GIT_AUTHOR_DATE="17000000$1 +0000" GIT_COMMITTER_DATE="17000000$1 +0000"; }
git init -q -b main repo; cd repo
for i in 10 11 12 13; do
  at $i; echo "line $i" >> file; mkdir -p d$i; echo $i > d$i/f; git add .; git commit -qm "commit $i"
done
git switch -qc side HEAD~2; at 20; echo other > side; git add side; git commit -qm side
git switch -q main; at 21; git merge -q --no-edit side; git tag v1 -m v1
git mv d10/f moved; git rm -q d11/f; at 22; git commit -qm moved
git switch -q side; at 23; git rebase -q main~1
git stash list; echo dirty >> side; at 24; git stash -q; git stash pop -q; git checkout -q -- .
git gc -q; git fsck --strict; git clone -q . ../clone; git -C ../clone log --all --format='%H %T %s'
git for-each-ref; git status --short"#;
    // The index holds inode numbers and times, a cruft pack times.
    let holds_times = |path: &Path| {
        path.ends_with("index")
            || path
                .extension()
                .is_some_and(|extension| extension == "mtimes")
    };
    complete(&Pair::new(script, &[]).same_but(holds_times));
}

#[test]
fn make_builds_the_same_program() {
    let script = r#"
for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int x) { return x * $i + 1; }" > f$i.c; done
{ for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int);"; done
  echo '#include <stdio.h>'; echo 'int main(void) { int x = 1;'
  for i in 1 2 3 4 5 6 7 8; do echo "x = f$i(x);"; done; echo 'printf("%d\n", x); return 3; }'; } > main.c
printf 'OBJECTS = %s\nprogram: main.o libf.a\n\t$(CC) -o $@ $^\nlibf.a: $(OBJECTS)\n\t$(AR) rcs $@ $^\nclean:\n\trm *.o\n' \
  "$(echo f{1..8}.o)" > Makefile
make -s -j4 && ./program; echo $?; make -s -j4; touch f3.c; make -s -j4; make -s clean; make missing"#;
    complete(&Pair::new(script, &[]).same_but(|path| path.ends_with("libf.a")));
}

#[test]
fn cargo_builds_a_crate_that_runs_its_tests() {
    let script = r#"
set -e
cargo new -q --vcs none --name crate_a a 2>&1; cargo new -q --vcs none --lib --name crate_b b 2>&1
echo 'crate_b = { path = "../b" }' >> a/Cargo.toml
echo 'fn main() { println!("cargo::rustc-env=MADE=yes"); std::fs::write(std::env::var("OUT_DIR").unwrap() + "/x.rs", "7").unwrap(); }' > a/build.rs
echo 'fn main() { println!("{} {} {}", crate_b::add(2, 2), env!("MADE"), include!(concat!(env!("OUT_DIR"), "/x.rs"))) }' > a/src/main.rs
cd a; cargo run -q --offline; cargo test -q --offline -p crate_b 2>&1 | grep -v finished
echo 'fn main() { nonsense }' > src/main.rs; cargo build -q --offline 2>&1; echo $?"#;
    let differs = |path: &Path| path.starts_with("a/target");
    complete(&Pair::new(script, &[]).same_but(differs));
}

#[test]
fn pip_installs_a_package_into_an_environment() {
    let script = r#"
set -e
mkdir -p package/backend package/hello
echo 'print("hello from", __file__.rsplit("site-packages/")[1])' > package/hello/__init__.py
printf '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["backend"]\n[project]\nname = "hello"\nversion = "1.0"\n' > package/pyproject.toml
cat > package/backend/build.py <<'PY'
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = 'hello-1.0-py3-none-any.whl'
    info = 'hello-1.0.dist-info/'
    with zipfile.ZipFile(directory + '/' + name, 'w') as wheel:
        wheel.write('hello/__init__.py')
        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n')
        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(info + 'RECORD', '')
    return name
PY
"$1" -m venv environment
environment/bin/pip install -q --no-index --disable-pip-version-check ./package
cd /; "$OLDPWD/environment/bin/python" -c 'import hello'
"$OLDPWD/environment/bin/pip" list --disable-pip-version-check | grep hello
"$OLDPWD/environment/bin/pip" uninstall -qy hello; "$OLDPWD/environment/bin/python" -c 'import hello' 2>&1 | tail -1"#;
    let made_by_time = |path: &Path| path.extension().is_some_and(|e| e == "pyc");
    complete(&Pair::new(script, &[&python()]).same_but(made_by_time));
}

#[test]
fn sqlite_serves_writers_at_once() {
    let script = r#"
"$1" - <<'PY'
import multiprocessing, sqlite3, threading
def connect(name):
    return sqlite3.connect(name, timeout=60, isolation_level=None)
def write(name, who):
    store = connect(name)
    for i in range(40):
        store.execute('BEGIN IMMEDIATE')
        store.execute('INSERT INTO t VALUES (?, ?)', (who, i))
        store.execute('UPDATE sums SET n = n + ?', (i,))
        store.execute('COMMIT')
    store.close()
for mode in ['wal', 'delete']:
    name = mode + '.db'
    store = connect(name)
    print(store.execute('PRAGMA journal_mode=' + mode).fetchone())
    store.execute('PRAGMA synchronous=off')
    store.execute('CREATE TABLE t (who, i)'); store.execute('CREATE TABLE sums (n)')
    store.execute('INSERT INTO sums VALUES (0)')
    fork = multiprocessing.get_context('fork').Process
    writers = [make(target=write, args=(name, i)) for i, make in enumerate([fork, fork, fork])]
    for writer in writers: writer.start()
    for writer in writers: writer.join()
    print([writer.exitcode for writer in writers])
    threads = [threading.Thread(target=write, args=(name, 3 + i)) for i in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(store.execute('SELECT who, count(*), sum(i) FROM t GROUP BY who').fetchall())
    print(store.execute('SELECT n FROM sums').fetchall(), store.execute('PRAGMA integrity_check').fetchall())
PY
for mode in wal delete; do sqlite3 $mode.db '.schema' 'SELECT count(*) FROM t'; done"#;
    let report = Pair::new(script, &[&python()]).same_but(|path| path.extension().is_some());
    complete(&report);
    let writes = report.writes();
    for name in ["work/wal.db", "work/delete.db"] {
        assert!(
            writes.iter().any(|line| line.starts_with(name)),
            "{writes:?}"
        );
    }
}

#[test]
fn a_daemon_drops_its_privileges() {
    if !is_root("a_daemon_drops_its_privileges") {
        return;
    }
    let script = r#"
mkdir -m 777 open
"$1" - <<'PY'
import os, sys
if os.fork():
    os.wait(); sys.exit()
os.setsid()
if os.fork():
    os._exit(0)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
os.umask(0o027)
with open('open/log', 'w') as log:
    for name, flags in [('../secret', os.O_RDONLY), ('../shown', os.O_RDONLY), ('../shown', os.O_WRONLY), ('new', os.O_CREAT | os.O_WRONLY)]:
        try:
            os.close(os.open(name, flags)); result = 'opened'
        except OSError as error:
            result = error.strerror
        print(name, flags, result, file=log)
    try:
        os.setuid(0)
    except OSError as error:
        print('setuid', error.strerror, file=log)
    print(os.getresuid(), os.getgroups(), file=log)
os.rename('open/log', 'open/done')
PY
until [ -e open/done ]; do sleep 0.02; done; cat open/done; stat -c '%U %a %n' open/*"#;
    let pair = Pair::new(script, &[&python()]).with(&["--wait", "tree"]);
    pair.project.write("secret", "x").write("shown", "x");
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(pair.project.path("secret"), closed).unwrap();
    let report = pair.same();
    assert_eq!(report.reads(), ["shown open"]);
    assert_eq!(report.writes(), ["work/open/done open+rename"]);
}
