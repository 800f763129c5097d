"""The curves of a run, out of its TensorBoard events."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def curves_by_step(run: Path) -> dict[str, dict[int, float]]:  # of each scalar its values by step
    """All scalars in a run's folder. A step that was written twice, by a part that was gone on with, counts last."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
