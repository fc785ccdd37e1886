"""Who stays loaded, decided without loading anything."""

from __future__ import annotations

import math

from lmstrix.gateway.residency import Load, Residency, Stay, Use, Wait, Wish
from lmstrix.store import Entry
from lmstrix.types import Instance, LoadConfig, Model


def wish(key: str, *, context: int | None = None, ttl_s: float | None = None) -> Wish:
    model = Model(key=key, provider="embedded", server="embedded")
    entry = Entry(model=model, added_at=0, seen_at=0)
    return Wish(entry=entry, config=LoadConfig(context_tokens=context), ttl_s=ttl_s)


def loaded(stay: Stay, *, now: float = 0) -> Stay:
    key = stay.entry.model.key
    stay.instance = Instance(
        id=key,
        model_key=key,
        provider="embedded",
        server="embedded",
        context_tokens=stay.config.context_tokens or 1000,
    )
    stay.idle_since = now
    return stay


def load(residency: Residency, wanted: Wish) -> Stay:
    step = residency.step(wanted)
    assert isinstance(step, Load)
    for victim in step.victims:
        residency.remove(victim)
    return loaded(step.stay)


def test_a_loaded_instance_is_used_and_a_load_under_way_is_joined():
    residency = Residency(max_loaded=1, ttl_s=60)
    step = residency.step(wish("a"))
    assert isinstance(step, Load)
    assert residency.step(wish("a")) == Use(step.stay)
    loaded(step.stay)
    assert residency.step(wish("a")) == Use(step.stay)
    assert step.stay.users == 3


def test_an_idle_instance_makes_room_for_another_model():
    residency = Residency(max_loaded=1, ttl_s=60)
    first = load(residency, wish("a"))
    residency.finish(first, now=1)
    step = residency.step(wish("b"))
    assert isinstance(step, Load)
    assert step.victims == (first,)


def test_as_many_stay_as_are_allowed_and_the_longest_idle_goes():
    residency = Residency(max_loaded=2, ttl_s=60)
    first, second = load(residency, wish("a")), load(residency, wish("b"))
    residency.finish(second, now=1)
    residency.finish(first, now=2)
    step = residency.step(wish("c"))
    assert isinstance(step, Load)
    assert step.victims == (second,)


def test_one_that_answers_is_waited_for_and_gets_no_more_questions():
    residency = Residency(max_loaded=1, ttl_s=60)
    first = load(residency, wish("a"))
    second = wish("b")
    assert residency.step(second) == Wait()
    late = wish("a")
    assert residency.step(late) == Wait()
    residency.finish(first, now=1)
    assert residency.step(late) == Wait()  # it came later
    assert isinstance(residency.step(second), Load)


def test_who_gives_up_waiting_leaves_everything_as_it_was():
    residency = Residency(max_loaded=1, ttl_s=60)
    first, impatient = load(residency, wish("a")), wish("b")
    assert residency.step(impatient) == Wait()
    residency.withdraw(impatient)
    assert residency.step(wish("a")) == Use(first)


def test_what_somebody_asked_to_be_loaded_makes_no_room():
    residency = Residency(max_loaded=1, ttl_s=60)
    asked = wish("a")
    explicit = loaded(residency.add(asked.entry, asked.config, ttl_s=None))
    residency.finish(explicit, now=1)
    step = residency.step(wish("b"))
    assert isinstance(step, Load)
    assert step.victims == ()
    assert residency.next_due() == math.inf


def test_a_model_wanted_at_another_size_is_loaded_anew():
    residency = Residency(max_loaded=3, ttl_s=60)
    small = load(residency, wish("a", context=512))
    residency.finish(small, now=1)
    assert residency.step(wish("a")) == Use(small)
    residency.finish(small, now=2)
    step = residency.step(wish("a", context=1024))
    assert isinstance(step, Load)
    assert step.victims == (small,)


def test_of_several_copies_the_least_busy_answers():
    residency = Residency(max_loaded=1, ttl_s=60)
    asked = wish("a")
    copies = [loaded(residency.add(asked.entry, asked.config, ttl_s=None)) for _ in range(2)]
    residency.finish(copies[1], now=1)
    assert residency.step(wish("a")) == Use(copies[1])


def test_the_time_to_live_begins_anew_with_each_answer_and_not_within_one():
    residency = Residency(max_loaded=1, ttl_s=60)
    stay = load(residency, wish("a"))
    assert residency.next_due() == math.inf
    residency.finish(stay, now=10)
    assert residency.next_due() == 70
    assert residency.due(now=69) == []
    residency.step(wish("a"))
    assert residency.due(now=1000) == []
    residency.finish(stay, now=1000)
    assert residency.due(now=1060) == [stay]
    assert isinstance(residency.step(wish("a")), Load)


def test_a_question_may_say_how_long_its_instance_is_kept():
    residency = Residency(max_loaded=1, ttl_s=60)
    stay = load(residency, wish("a", ttl_s=5))
    residency.finish(stay, now=0)
    assert residency.next_due() == 5
    residency.step(wish("a", ttl_s=math.inf))
    residency.finish(stay, now=1)
    assert residency.next_due() == math.inf
    residency.step(wish("a", ttl_s=0))
    residency.finish(stay, now=2)
    assert residency.due(now=2) == [stay]


def test_models_on_another_server_make_no_room():
    residency = Residency(max_loaded=1, ttl_s=60)
    residency.finish(load(residency, wish("a")), now=1)
    model = Model(key="b", provider="ollama", server="http://127.0.0.1:11434")
    other = Wish(entry=Entry(model=model, added_at=0, seen_at=0), config=LoadConfig())
    step = residency.step(other)
    assert isinstance(step, Load)
    assert step.victims == ()
