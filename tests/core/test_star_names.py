from cascade.core.star_names import proper_names, star_name


def test_a_star_has_its_proper_name_or_its_number_alone():
    assert star_name(21421) == "Aldebaran (HIP 21421)"
    assert star_name(32349) == "Sirius (HIP 32349)"
    assert star_name(20885) == "HIP 20885"


def test_names_are_plain_text_and_unique():
    names = proper_names()
    assert len(names) == len(set(names.values())) > 300
    assert all(name == name.strip() and name and not set(name) & set('()<>&",;') for name in names.values())
