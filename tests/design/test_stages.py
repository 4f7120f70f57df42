"""Stages take records through their steps."""

from ase import Atoms

from equicalc.design import Rejected, Step
from equicalc.design.stages import stages_of
from equicalc.design.storage import Record


class Never(Step):
    def each(self, atoms):
        raise Rejected("no")


class Together(Step):
    def many(self, structures):
        if not structures:
            raise ValueError("nothing given")
        return [[atoms] for atoms in structures]


def test_steps_after_the_last_rejection_are_not_taken():
    [stage] = stages_of([Together(), Never(), Together()])
    [record] = stage.advanced([Record("0", Atoms("C"), round=0, seed=0)])
    assert record.status == "rejected"
    assert record.reason == "no"


def test_all_steps_are_taken_while_something_moves():
    [stage] = stages_of([Together(), Together()])
    [record] = stage.advanced([Record("0", Atoms("C"), round=0, seed=0)])
    assert record.stage == 1
    assert record.step == "Together 2"
