"""What is found below a folder that is named, before any work begins."""

from seqgan.speech.plan import plan


def test_what_is_hidden_or_below_the_output_is_no_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", ".b.wav", ".c/d.wav", "out/e.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    tasks, failures = plan(["."], "out")
    assert [task.source for task in tasks] == ["a.wav"] and not failures
