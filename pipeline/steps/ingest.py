"""Ingest: read the scenes that the working store does not hold yet."""

from __future__ import annotations

from pipeline.config import Area
from pipeline.observations.location import observations_path
from pipeline.observations.textures import texture_bands
from pipeline.steps.plan import compare, load_plan
from pipeline.steps.recipe import coarse_products, dated_products
from pipeline.steps.runs import Progress, save, silent


def ingest(area: Area, run_id: str, progress: Progress = silent) -> dict[str, int]:
    """Read the scenes that the working store does not hold yet, then plan again with what was really read.

    Returns
    -------
    dict
        Scenes ``read`` and ``failed`` in this step.
    """
    from pipeline.observations.ingest import ingest as read_scenes
    from pipeline.observations.working import WorkingStore

    made = load_plan(area, run_id)
    path = observations_path(area)
    store = (
        WorkingStore.open(path)
        if path.exists()
        else WorkingStore.create(
            path,
            area.grid,
            area.science.bands,
            coarse_products(area),
            area.science.block,
            dated_products(area),
            texture_bands(area),
        )
    )
    wanted = [scene for scene in made.scenes if scene.id in set(made.unread)]
    records = read_scenes(
        wanted,
        store,
        area.grid,
        area.science.bands,
        area.products,
        area.science.mask,
        area.science.normalise,
        area.runtime.catalogs,
        area.runtime.read_threads,
        progress,
    )
    store.select({scene.identity for scene in made.scenes})
    again = compare(area, (made.first, made.last), made.as_of, made.scenes, made.skipped, tried=made.unread)
    save(area, run_id, "plan", again.to_dict())
    failed = sum(record.state == "failed" for record in records)
    return {"read": len(records) - failed, "failed": failed}
