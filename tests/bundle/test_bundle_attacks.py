"""Hostile and damaged bundles: each is refused, by an error of ours that names the file, the fault and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from attacks import ATTACKS, Attack

from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle


def attacked(attack: Attack, folder: Path) -> tuple[Path, BadBundle]:
    path = folder / f"{attack.name}.edge"
    attack.make(path)
    with pytest.raises(BadBundle) as caught:
        use(path, attack, folder)
    return path, caught.value


def use(path: Path, attack: Attack, folder: Path) -> None:
    with Bundle.open(path, trust=attack.trust(folder)) as bundle:
        for graph in bundle.manifest.graphs if attack.use else ():
            bundle.graph(graph.name)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_gets_its_own_message(attack: Attack, tmp_path: Path) -> None:
    _, error = attacked(attack, tmp_path)
    with pytest.raises(BadBundle, match=attack.message):
        raise error


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_names_the_file_and_what_to_do(attack: Attack, tmp_path: Path) -> None:
    path, error = attacked(attack, tmp_path)
    assert error.where == str(path)
    assert error.hint
    assert error.exit_code == 3
    assert len(str(error)) < 700
    assert str(error).isprintable()


def test_the_attacks_have_names_of_their_own() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 20
