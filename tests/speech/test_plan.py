"""What is found below a folder that is named, before any work begins."""

from seqgan.speech.plan import plan


def test_what_is_hidden_or_below_the_output_is_no_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", ".b.wav", ".c/d.wav", "out/e.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tasks, failures = plan(["."], "out")
    assert [task.source for task in tasks] == ["a.wav"] and not failures


def test_outputs_of_one_stem_in_several_formats_are_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "a.flac", "a.mp3", "b.aiff", "c.txt"):
        (tmp_path / name).touch()
    targets = {"a.flac": "a.flac", "a.mp3": "a.mp3", "a.wav": "a", "b.aiff": "b"}
    for output, ending in (("out", ".wav"), (None, ".enhanced.wav")):
        tasks, failures = plan(["."], output)
        found = {task.source: task.target for task in tasks}
        folder = "out/" if output else ""
        assert found == {source: f"{folder}{target}{ending}" for source, target in targets.items()} and not failures


def test_an_output_that_exists_is_a_failure_replaced_or_skipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "a.enhanced.wav"):
        (tmp_path / name).touch()
    tasks, (failure,) = plan(["a.wav", "b.wav"])
    assert [task.source for task in tasks] == ["b.wav"] and "a.enhanced.wav exists already" in failure.reason
    assert [task.source for task in plan(["a.wav", "b.wav"], overwrite=True)[0]] == ["a.wav", "b.wav"]
    assert plan(["a.wav", "b.wav"], skip=True) == (tasks, [])
