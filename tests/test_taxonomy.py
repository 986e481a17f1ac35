from collections import Counter

from cifar100.taxonomy import FINE_NAMES, FINE_TO_SUPERCLASS, SUPERCLASS_NAMES


def test_there_are_20_superclasses_of_5_classes():
    assert len(set(FINE_NAMES)) == len(FINE_NAMES) == 100
    assert len(set(SUPERCLASS_NAMES)) == 20
    assert Counter(FINE_TO_SUPERCLASS) == dict.fromkeys(range(20), 5)


def test_names_are_in_alphabetical_order_as_in_the_official_files():
    assert list(FINE_NAMES) == sorted(FINE_NAMES)
    assert list(SUPERCLASS_NAMES) == sorted(SUPERCLASS_NAMES)


def test_superclasses_are_those_of_the_publication():
    members = {
        name: [fine for fine, label in zip(FINE_NAMES, FINE_TO_SUPERCLASS, strict=True) if label == superclass]
        for superclass, name in enumerate(SUPERCLASS_NAMES)
    }
    assert members["aquatic_mammals"] == ["beaver", "dolphin", "otter", "seal", "whale"]
    assert members["people"] == ["baby", "boy", "girl", "man", "woman"]
    assert members["vehicles_2"] == ["lawn_mower", "rocket", "streetcar", "tank", "tractor"]
