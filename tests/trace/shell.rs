//! Shells and the tools that are run from them.

use roar_tests::Project;

#[test]
fn redirects_are_an_input_and_an_output() {
    let project = Project::new();
    project.write("in.txt", "b\na\n");
    let report = project.shell("sort < in.txt > out.txt");
    report.assert(&["in.txt open"], &["out.txt open"], &[]);
    assert_eq!(project.read("out.txt"), "a\nb\n");
}

#[test]
fn a_pipe_joins_two_programs_and_is_not_recorded() {
    let project = Project::new();
    project.write("in.txt", "b\na\n");
    let report = project.shell("cat in.txt | sort | tee copy.txt > out.txt");
    report.assert(&["in.txt open"], &["copy.txt open", "out.txt open"], &[]);
}

#[test]
fn cp_reads_and_writes() {
    let project = Project::new();
    project.write("a", "content");
    let report = project.shell("cp a b");
    report.assert(&["a open"], &["b open"], &[]);
    let digest = |list, name| report.file(list, name)["digest"].clone();
    assert_eq!(digest("reads", "a"), digest("writes", "b"));
}

#[test]
fn mv_of_a_foreign_file_reads_and_deletes_it() {
    let project = Project::new();
    project.write("in", "content");
    let report = project.shell("mv in out");
    assert_eq!(report.writes(), ["out rename"]);
    assert_eq!(report.deletes(), ["in"]);
    // It was renamed before anybody could hash it; its content is that of `out`.
    assert_eq!(report.file("reads", "in")["how"][0], "rename");
}

#[test]
fn sed_in_place_makes_a_new_version() {
    let project = Project::new();
    project.write("a.txt", "one\n");
    let report = project.shell("sed -i s/one/two/ a.txt");
    assert_eq!(report.files("reads").len(), 1, "{:?}", report.reads());
    assert_eq!(report.writes(), ["a.txt open+rename"]);
    assert!(report.deletes().is_empty());
    assert_eq!(report.ephemeral(), 0);
    assert_eq!(project.read("a.txt"), "two\n");
}

#[test]
fn tar_reads_what_it_packs_and_writes_what_it_unpacks() {
    let project = Project::new();
    project.write("d/a", "A").write("d/b/c", "C");
    let report = project.shell("tar cf d.tar d");
    report.assert(&["d/a open", "d/b/c open"], &["d.tar open"], &[]);
    let report = project.shell("mkdir e && tar xf d.tar -C e");
    report.assert(&["d.tar open"], &["e/d/a open", "e/d/b/c open"], &[]);
}

#[test]
fn append_to_existing_content_is_also_a_read() {
    let project = Project::new();
    project.write("log", "one\n").write("empty", "");
    let report = project.shell("echo two >> log; echo x >> empty; echo y >> new");
    assert_eq!(report.writes(), ["empty append", "log append", "new open"]);
    assert_eq!(report.files("reads").len(), 1, "{:?}", report.reads());
    assert_eq!(report.file("reads", "log")["how"][0], "append");
}

#[test]
fn a_script_is_code_and_its_interpreter_is_not_shown() {
    let project = Project::new();
    project.write("in.txt", "x");
    project.write("tool", "#!/bin/sh\ncat in.txt > out.txt\n");
    let report = project.shell("chmod +x tool && ./tool");
    assert_eq!(report.writes(), ["out.txt open"]);
    let reads = report.reads();
    assert_eq!(reads.len(), 2, "{reads:?}");
    assert_eq!(report.file("reads", "tool")["category"], "code");
    let how = report.file("reads", "tool")["how"].as_array().unwrap();
    assert!(how.iter().any(|how| how == "exec"));
}

#[test]
fn what_the_shell_outside_had_redirected_is_inherited() {
    let project = Project::new();
    project.write("in.txt", "b\na\n").write("log", "old\n");
    let roar = roar_tests::roar();
    let report = project.report_path();
    let line = format!(
        "{} trace --json {} -- sort < in.txt > out.txt 2>> log 3>> log",
        roar.display(),
        report.display()
    );
    let status = std::process::Command::new("bash")
        .args(["-c", &line])
        .current_dir(project.path(""))
        .status();
    assert!(status.unwrap().success());
    let report = project.report();
    assert_eq!(project.read("out.txt"), "a\nb\n");
    assert!(report.reads().contains(&"in.txt inherited".to_owned()));
    let writes = report.writes();
    assert!(
        writes.contains(&"out.txt inherited".to_owned()),
        "{writes:?}"
    );
    // Nothing was written there, and nothing can have been read.
    let of_log = |file: &String| file.starts_with("log ");
    assert!(!report.reads().iter().chain(&writes).any(of_log));
}

/// Each step is handed the log; it is no reason why they should depend on each other.
#[test]
fn steps_that_write_one_log_do_not_follow_from_it_unless_they_write() {
    let project = Project::new();
    let roar = roar_tests::roar();
    let steps = ["echo said; echo 1 > a", "echo 2 > b", "echo more"];
    let run = |step: &&str| format!("{} run -q sh -c '{step}'\n", roar.display());
    project.write("steps", steps.iter().map(run).collect::<String>());
    let script = std::process::Command::new("sh")
        .args(["-c", "sh steps > log"])
        .current_dir(project.path(""))
        .status();
    assert!(script.unwrap().success());
    let dag = project.document(&["dag", "--json"]);
    let nodes = dag["nodes"].as_array().unwrap();
    let uses = |list: &str| -> Vec<usize> {
        nodes
            .iter()
            .map(|node| node[list].as_array().unwrap().len())
            .collect()
    };
    assert_eq!(
        (uses("reads"), uses("writes")),
        (vec![0, 0, 1], vec![2, 1, 1]),
        "{dag:#}"
    );
    let [edge] = &dag["edges"].as_array().unwrap()[..] else {
        panic!("{dag:#}");
    };
    assert_eq!(
        [&edge["from"], &edge["to"]],
        [&nodes[0]["id"], &nodes[2]["id"]]
    );
}
