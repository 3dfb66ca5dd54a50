//! Programs that bring a seccomp filter or an io_uring of their own.

use roar_tests::Project;

use crate::compare::Pair;

/// Checks something of a program from `tests/programs`.
fn with(program: &str, check: impl Fn(&str)) {
    let project = Project::new();
    check(&project.compile(program, &[]));
}

#[test]
fn a_filter_of_its_own_refuses_and_traps_as_ever() {
    with("own_filter", |program| {
        for how in ["errno", "trap"] {
            let script = "cd ..; \"$1\" \"$2\"; ls; cd work";
            let pair = Pair::new(script, &[program, how]);
            pair.project.write("in", "x");
            // What the filter refuses is no write.
            pair.same().assert(&["in open"], &[], &[]);
        }
    });
}

#[test]
fn a_listener_of_its_own_is_refused_and_that_is_a_gap() {
    with("own_filter", |program| {
        let pair = Pair::new("echo x > in; \"$1\" listener; ls", &[program]);
        let untraced = String::from_utf8(pair.untraced().stdout).unwrap();
        let (traced, report) = pair.traced();
        let expected = untraced.replace("seccomp: done", "seccomp: Device or resource busy");
        assert_ne!(untraced, expected);
        assert_eq!(String::from_utf8_lossy(&traced.stdout), expected);
        assert_eq!(report.gaps(), ["backend"]);
    });
}

#[test]
fn a_filter_for_a_tracer_is_a_gap() {
    with("own_filter", |program| {
        let report = Pair::new("\"$1\" trace", &[program]).same_but(|_| false);
        assert_eq!(report.gaps(), ["backend"]);
    });
}

#[test]
fn a_ring_works_and_is_a_gap() {
    with("ring", |program| {
        let script = "echo abc > in; \"$1\" in out; echo $?; cat out";
        let report = Pair::new(script, &[program]).same_but(|_| false);
        assert_eq!(report.gaps(), ["io_uring"]);
    });
}

#[test]
fn a_refused_ring_is_eperm_and_no_gap() {
    with("ring", |program| {
        let pair = Pair::new("echo abc > in; \"$1\" in out; echo $?", &[program]);
        let (traced, report) = pair.with(&["--io-uring", "refuse"]).traced();
        let said = String::from_utf8_lossy(&traced.stdout).into_owned();
        assert_eq!(said, "io_uring_setup: Operation not permitted\n1\n");
        assert_eq!(report.gaps(), Vec::<String>::new());
    });
}

/// fio's own verification reads back what its rings wrote.
#[test]
#[ignore = "long: `make soak`; needs fio"]
fn fio_verifies_what_its_rings_wrote() {
    let script = "fio --name=t --ioengine=io_uring --rw=randrw --size=32m --bs=4k --iodepth=16 \
                  --verify=crc32c --do_verify=1 --numjobs=3 --minimal >log 2>&1; echo $?; ls";
    let report = Pair::new(script, &[]).same_but(|_| true);
    assert_eq!(report.gaps(), ["io_uring"]);
}
