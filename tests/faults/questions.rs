//! What a project answers of what was recorded in it.

use std::fs;

use roar_tests::{Project, digest, validate};
use serde_json::{Value, json};

/// A project with two runs of one step, and a third that used what they made.
fn three_steps() -> Project {
    let project = Project::new();
    project.write("in", "x").write("other", "y");
    for line in [
        "cat in > out",
        "cat in in > out",
        "cat out other > final; rm other",
    ] {
        let ran = project.trace_as("run", &["-q"], &["bash", "-c", line], |_| ());
        assert!(ran.output.status.success());
    }
    project
}

/// Exit status, JSON on stdout (null for none) and stderr of a question.
fn ask(project: &Project, arguments: &[&str]) -> (i32, Value, String) {
    let output = project.roar(arguments).output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if document != Value::Null {
        validate(&document);
    }
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), document, errors)
}

/// One key of each of a document's files, with the file's name.
fn of_files(document: &Value, key: &str) -> Vec<(String, Value)> {
    let files = document["files"].as_array().unwrap();
    let name = |file: &Value| {
        let path = file["path"].as_str().unwrap();
        path.rsplit('/').next().unwrap().to_owned()
    };
    files
        .iter()
        .map(|file| (name(file), file[key].clone()))
        .collect()
}

#[test]
fn sources_are_what_no_recorded_task_made() {
    let project = three_steps();
    let (_, dag, _) = ask(&project, &["dag", "--json"]);
    let id = |step: usize| dag["nodes"][step - 1]["id"].clone();
    let (status, inputs, _) = ask(&project, &["inputs", "--json"]);
    assert_eq!(status, 0);
    let expected = [
        ("in".to_owned(), json!([id(1), id(2)])),
        ("other".to_owned(), json!([id(3)])),
    ];
    assert_eq!(of_files(&inputs, "consumers"), expected);
    let output = project.roar(["inputs"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let content = |name: &str| digest(project.path(name))[..19].to_owned();
    assert_eq!(words[0], ["in", &content("in"), "@1,", "@2"]);

    // What somebody changes in between is a source too.
    project.write("out", "by hand");
    project.trace_as("run", &["-q"], &["cat", "out"], |_| ());
    let (_, inputs, _) = ask(&project, &["inputs", "--json"]);
    let names = of_files(&inputs, "digest")
        .into_iter()
        .map(|(name, _)| name);
    assert_eq!(names.collect::<Vec<_>>(), ["in", "other", "out"]);
}

#[test]
fn a_directory_that_is_no_artifact_is_all_that_was_in_it() {
    let project = Project::new();
    project.write("few/a", "a");
    project.trace_as("run", &["-q"], &["cat", "few/a"], |_| ());
    let (status, shown, _) = ask(&project, &["show", "few", "--json"]);
    let paths: Vec<_> = shown["uses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|used| &used["file"]["path"])
        .collect();
    let root = project.path("few").canonicalize().unwrap();
    let path = |name: &str| json!(root.join(name));
    assert_eq!((status, paths), (0, vec![&path("a")]));
}

#[test]
fn two_steps_differ_in_what_they_were_and_left() {
    let project = three_steps();
    let (status, diff, _) = ask(&project, &["diff", "@1", "@2", "--json"]);
    assert_eq!(status, 0);
    assert_eq!(diff["same"], false);
    let keys: Vec<_> = diff["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["key"])
        .collect();
    assert_eq!(keys, ["command"]);
    assert_eq!(diff["settings"][0]["a"], "bash -c 'cat in > out'");
    assert_eq!(
        of_files(&diff, "verdict"),
        [("out".to_owned(), json!("changed"))]
    );
    assert_eq!(diff["files"][0]["b"]["digest"], digest(project.path("out")));

    // By what they made: the last that wrote it.
    let (_, by_name, _) = ask(&project, &["diff", "final", "out", "--json"]);
    assert_eq!(
        (&by_name["a"]["step"], &by_name["b"]["step"]),
        (&json!(3), &json!(2))
    );
    let only_b = |name: &str| (name.to_owned(), json!("only_b"));
    let only_a = |name: &str| (name.to_owned(), json!("only_a"));
    let expected = [
        only_b("in"),
        only_a("other"),
        only_a("out"),
        only_a("final"),
        only_b("out"),
        only_a("other"),
    ];
    assert_eq!(of_files(&by_name, "verdict"), expected);

    let (_, same, _) = ask(&project, &["diff", "@2", "out", "--json"]);
    assert_eq!(same["same"], true);
    let (status, _, errors) = ask(&project, &["diff", "in", "out"]);
    assert_eq!(status, 1);
    assert!(
        errors.starts_with("roar: cannot compare in (no recorded task made it)"),
        "{errors}"
    );
}

#[test]
fn commands_of_other_words_differ() {
    let project = Project::new();
    for words in [&["echo", "a b"][..], &["echo", "a", "b"]] {
        project.trace_as("run", &["-q"], words, |_| ());
    }
    let (_, diff, _) = ask(&project, &["diff", "@1", "@2", "--json"]);
    let [a, b] = ["echo 'a b'", "echo a b"];
    assert_eq!(
        diff["settings"],
        json!([{"key": "command", "a": a, "b": b}])
    );
}

#[test]
fn of_two_versions_each_is_from_its_own_maker() {
    let project = Project::new();
    let run = |line: &str| {
        let arguments = ["run", "-q", "--", "bash", "-c", line];
        project.roar(arguments).spawn().unwrap()
    };
    assert!(run("echo x > base").wait().unwrap().success());
    let wait = "while [ ! -e go ]; do sleep 0.01; done";
    let mut both = run(&format!(
        "cat base > one; : > ready; {wait}; cat base > two"
    ));
    while !project.path("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(run("echo y > base").wait().unwrap().success());
    project.write("go", "");
    assert!(both.wait().unwrap().success());
    for arguments in [&["dag"][..], &["show", "@3"]] {
        let text = project.roar(arguments).output().unwrap().stdout;
        let text = String::from_utf8(text).unwrap();
        for maker in ["@1", "@2"] {
            let line = format!("reads  base  from {maker}\n");
            assert!(text.contains(&line), "{text}");
        }
    }
}

#[test]
fn files_are_verified_by_reading_them_again() {
    let project = three_steps();
    let verdicts = |arguments: &[&str]| {
        let (status, document, errors) = ask(&project, arguments);
        assert_eq!(errors, "");
        (status, of_files(&document, "verdict"))
    };
    let is = |name: &str, verdict: &str| (name.to_owned(), json!(verdict));
    let all = ["verify", "--json"];
    // `other` was deleted.
    let same = vec![is("final", "same"), is("in", "same"), is("out", "same")];
    assert_eq!(verdicts(&all), (0, same));

    // As large, and as old: only its content tells.
    let out = project.path("out");
    let old = fs::metadata(&out).unwrap().modified().unwrap();
    project.write("out", "xy");
    fs::File::open(&out).unwrap().set_modified(old).unwrap();
    fs::remove_file(project.path("final")).unwrap();
    let expected = vec![
        is("final", "missing"),
        is("in", "same"),
        is("out", "changed"),
    ];
    assert_eq!(verdicts(&all), (1, expected));
    assert_eq!(
        verdicts(&["verify", "in", "--json"]),
        (0, vec![is("in", "same")])
    );
    // To the first step it was another all the same.
    let expected = vec![is("in", "same"), is("out", "changed")];
    assert_eq!(verdicts(&["verify", "@1", "--json"]), (1, expected));

    let (status, _, errors) = ask(&project, &["verify", "nothing"]);
    assert_eq!(status, 1);
    assert!(
        errors.starts_with("roar: cannot verify nothing ("),
        "{errors}"
    );
    let output = project.roar(["verify"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "changed    out\nmissing    final\n3 files: 1 same, 1 changed, 1 missing\n"
    );
}

#[test]
fn equal_content_elsewhere_is_an_edge_if_it_is_asked_for() {
    let project = Project::new();
    project.write("late", "x\n");
    for line in ["cat late > b; rm b", "echo x > a", "cat b > c"] {
        if line.starts_with("cat b") {
            // Nobody recorded this.
            fs::copy(project.path("a"), project.path("b")).unwrap();
        }
        let mut roar = project.roar(["run", "-q", "sh", "-c", line]);
        assert!(roar.status().unwrap().success());
    }
    let plain = project.document(&["dag", "--json"]);
    let wide = project.document(&["dag", "--same-content", "--json"]);
    assert_eq!(plain["edges"], json!([]));
    assert_eq!(wide["nodes"], plain["nodes"]);
    let path = project.path("b").canonicalize().unwrap();
    let expected = json!([{
        "from": plain["nodes"][1]["id"], "to": plain["nodes"][2]["id"], "via": "file",
        "path": path, "digest": plain["nodes"][2]["reads"][0]["digest"], "inferred": true,
    }]);
    assert_eq!(wide["edges"], expected);
}

#[test]
fn equal_content_is_no_edge_where_it_is_empty_or_was_written_there() {
    let project = Project::new();
    project.write("empty", "").write("in", "x\n");
    for line in [
        ": > _SUCCESS",
        "cat empty > x",
        "cp in a; cp in c",
        "cat c > d",
    ] {
        let mut roar = project.roar(["run", "-q", "sh", "-c", line]);
        assert!(roar.status().unwrap().success());
    }
    let plain = project.document(&["dag", "--json"]);
    let wide = project.document(&["dag", "--same-content", "--json"]);
    assert_eq!(plain["edges"].as_array().unwrap().len(), 1);
    assert_eq!(wide["edges"], plain["edges"]);
}

#[test]
fn where_no_file_should_be_none_is_changed() {
    let project = Project::new();
    let mut roar = project.roar(["run", "-q", "sh", "-c", "echo > a; rm a"]);
    assert!(roar.status().unwrap().success());
    let (status, document, errors) = ask(&project, &["verify", "--json"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert_eq!(document["files"], json!([]));
    let output = project.roar(["verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"by the record no file should be there\n");
    assert_eq!(ask(&project, &["verify", "a"]).0, 1);
}

#[test]
fn a_step_is_run_again_where_it_was() {
    let project = three_steps();
    fs::create_dir(project.path("below")).unwrap();
    project.write("in", "new ");
    let again = |step: &str| {
        let mut roar = project.roar(["run", "--json", "report.json", step]);
        roar.current_dir(project.path("below")).output().unwrap()
    };
    let output = again("@2");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(project.read("out"), "new new ");
    assert!(project.has("below/report.json"));
    let (_, diff, _) = ask(&project, &["diff", "@2", "out", "--json"]);
    assert_eq!(diff["settings"], json!([]));
    let changed = |name: &str| (name.to_owned(), json!("changed"));
    assert_eq!(of_files(&diff, "verdict"), [changed("in"), changed("out")]);

    let refused = again("@9");
    assert_eq!(refused.status.code(), Some(125));
    let errors = String::from_utf8(refused.stderr).unwrap();
    assert!(
        errors.starts_with("roar: cannot run @9 again (the session has 4 steps)"),
        "{errors}"
    );

    let secret = ["true", "--password", "hidden"];
    project.trace_as("run", &["-q"], &secret, |_| ());
    let errors = String::from_utf8(again("@5").stderr).unwrap();
    assert!(
        errors.contains("had credentials, which are not kept"),
        "{errors}"
    );
}
