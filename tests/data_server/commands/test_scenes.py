"""``scenes``: the demo's data set from the command line."""

import json

from data_server.commands.scenes import main


def test_the_command_makes_the_data_set_it_is_asked_for(tmp_path, capsys):
    out = tmp_path / "demo"
    main(["--out", str(out), "--seed", "5", "--train-images", "2", "--val-images", "1"])
    assert json.loads((out / "scenes.json").read_text())["seed"] == 5
    assert len(list(out.glob("*/*.jpg"))) == 6
    assert str(out) in capsys.readouterr().out
