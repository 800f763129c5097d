"""The curves of a run, from its TensorBoard events."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def curves_by_step(run: Path) -> dict[str, dict[int, float]]:  # by scalar and step
    """All scalars in a run's folder. Of a step that was written twice, by a resumed run, the last value counts."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
