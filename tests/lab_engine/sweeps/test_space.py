"""The search space as users write it."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lab_engine.base.errors import UserError
from lab_engine.sweeps.space import read_space


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("lr=interval(0.1,0.9)", FloatDistribution(0.1, 0.9)),
        ("lr=interval(1,5)", FloatDistribution(1.0, 5.0)),
        ("lr=tag(log,interval(0.001,0.1))", FloatDistribution(0.001, 0.1, log=True)),
        ("n=int(interval(1,5))", IntDistribution(1, 5)),
        ("n=tag(log,int(interval(1,512)))", IntDistribution(1, 512, log=True)),
        ("n=range(1,5)", IntDistribution(1, 4)),
        ("n=range(1,9,3)", IntDistribution(1, 7, step=3)),
        ("n=range(5,1,-1)", IntDistribution(2, 5)),
        ("x=range(0,1,0.1)", FloatDistribution(0.0, 0.9, step=0.1)),
        ("x=range(0.5,2)", FloatDistribution(0.5, 1.5, step=1.0)),
        ("n=choice(16,32,64)", CategoricalDistribution((16, 32, 64))),
        ("+n=16,32,64", CategoricalDistribution((16, 32, 64))),
        ("model=lenet,small", CategoricalDistribution(("lenet", "small"))),
        ("flag=true,false", CategoricalDistribution((True, False))),
        ("sizes=[6,16],[8,32]", CategoricalDistribution(("[6,16]", "[8,32]"))),
        ("clip=null,1.0", CategoricalDistribution(("null", "1.0"))),
        ("n=1,true", CategoricalDistribution(("1", "True"))),
    ],
)
def test_reads_the_grammar_of_hydra(word: str, distribution: BaseDistribution) -> None:
    (parameter,) = read_space([word]).parameters
    assert parameter.distribution == distribution
    assert parameter.name == word.split("=")[0].lstrip("+")


@pytest.mark.parametrize(
    "word",
    [
        "n=16,32",
        "n=range(1,9,3)",
        "x=range(0,1,0.1)",
        "x=1e-05,0.1",
        "flag=true,false",
        "name='a b','c,d',\"e'f\",g",
        "text='1','null'",
        "model@other=lenet,small",
    ],
)
def test_writes_values_as_hydra_reads_them(word: str) -> None:
    (parameter,) = read_space([word]).parameters
    assert parameter.choices
    for value in parameter.choices:
        read = OverridesParser.create().parse_override(parameter.override(value)).value()
        assert (read, type(read)) == (value, type(value))


def test_a_range_has_the_values_that_were_written() -> None:
    (parameter,) = read_space(["x=range(0,1,0.1)"]).parameters
    assert parameter.choices == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def test_no_digit_of_a_float_is_lost() -> None:
    (parameter,) = read_space(["optimizer.lr=interval(0,1)"]).parameters
    for value in (0.1 + 0.2, 1 / 3, 1e-300, 5e-324):
        assert OverridesParser.create().parse_override(parameter.override(value)).value() == value


def test_a_choice_that_a_study_cannot_hold_is_written_as_it_was() -> None:
    (parameter,) = read_space(["+clip=null,1.0,[1,'a b']"]).parameters
    assert [parameter.override(value) for value in parameter.choices] == ["+clip=null", "+clip=1.0", "+clip=[1,'a b']"]


def test_all_other_words_stay_as_and_where_they_are() -> None:
    space = read_space(["data=digits", "lr=1,2", "~scheduler", "+x='a,b'", "n=range(2)"])
    assert space.overrides({"lr": 2, "n": 0}) == ["data=digits", "lr=2", "~scheduler", "+x='a,b'", "n=0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=digits"], "There is nothing to search: give KEY=interval(LOW,HIGH)"),
        (["lr=interval(1,0)"], "lr=interval(1,0) is refused: "),
        (["lr=tag(log,interval(0,1))"], "lr=tag(log,interval(0,1)) is refused: "),
        (["lr=tag(slow,interval(1,2))"], "lr=tag(slow,interval(1,2)) is refused: the only tag is log"),
        (["lr=tag(log,choice(1,2))"], "lr=tag(log,choice(1,2)) is refused: the only tag is log"),
        (["n=range(3,3)"], "n=range(3,3) is refused: it holds no value"),
        (["lr=1,2", "+lr=interval(1,2)"], "lr is given twice"),
    ],
)
def test_refuses_what_makes_no_sense(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        read_space(words)
    assert str(refused.value).startswith(message)
