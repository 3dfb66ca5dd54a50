"""`roar dag --html` in a browser."""

import re
import subprocess
from html import unescape


def dom(page, tmp_path, fragment=""):
    """The page's elements after its script has run."""
    browser = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=5000",
         page.as_uri() + fragment],
        capture_output=True, timeout=120, text=True,
    )
    assert browser.returncode == 0, browser.stderr
    return browser.stdout


def attributes(text, kind):
    """Of each element of a class, in order."""
    found = re.findall(rf'<(?:g|path)\b([^>]*\bclass="{kind}[ "][^>]*)>', text)
    return [{key: unescape(value) for key, value in re.findall(r'([\w-]+)="([^"]*)"', one)}
            for one in found]


def test_the_graph_is_drawn(project, tmp_path):
    page = tmp_path / "graph.html"
    project.roar("dag", "--html", str(page))
    dag = project.dag()
    text = dom(page, tmp_path)
    tasks = attributes(text, "task")
    assert {task["data-id"] for task in tasks} == {node["id"] for node in dag["nodes"]}
    assert {task["data-id"]: task["data-status"] for task in tasks} == {
        node["id"]: node["status"] for node in dag["nodes"]}
    paths = [file["data-path"] for file in attributes(text, "file")]
    # Two versions of one file are two.
    assert paths.count(str(project.path / "out")) == 2
    written = {file["path"] for node in dag["nodes"] for file in node["writes"]}
    read = {file["path"] for node in dag["nodes"] for file in node["reads"]}
    # Those of a directory that is one artifact are one.
    [parts] = attributes(text, "composite")
    assert parts["data-path"] == str(project.path / "parts") + "/"
    assert set(paths) == {path for path in written | read
                          if not path.startswith(parts["data-path"])}
    dashed = {(edge["data-from"], edge["data-to"]) for edge in attributes(text, "edge")
              if edge["data-via"] == "object"}
    assert dashed == {(edge["from"], edge["to"]) for edge in dag["edges"]
                      if edge["via"] == "object"}
    assert "https://" not in page.read_text() and "src=" not in page.read_text()


def test_names_are_only_ever_text(tmp_path, project):
    name = "</script><img src=x onerror=document.title='HARM'>"
    hostile = type(project)(tmp_path / "hostile")
    hostile.path.mkdir()
    hostile.run("bash", "-c", 'echo > "$1"; mkdir below; mv "$1" below', "bash",
                name.replace("/", "\u2215"))
    hostile.run("bash", "-c", "cat below/* > '<b>'")
    page = hostile.path / "graph.html"
    hostile.roar("dag", "--html", str(page))
    text = dom(page, tmp_path)
    assert "HARM</title>" not in text
    assert "<img" not in text and "<b>" not in text
    assert any(file["data-path"].endswith("<b>") for file in attributes(text, "file"))


def test_a_step_is_shown_by_its_address(project, tmp_path):
    page = tmp_path / "graph.html"
    project.roar("dag", "--html", str(page))
    text = dom(page, tmp_path, "#@3")
    assert str(project.path / "a <final>") in unescape(text)
    assert """@3 bash -c 'cat out "odd näme #1""" in unescape(text)
    project.roar("dag", "--all", "--html", str(page))
    text = dom(page, tmp_path)
    assert not attributes(text, "composite")
    assert str(project.path / "parts/a") in [file["data-path"] for file in attributes(text, "file")]
