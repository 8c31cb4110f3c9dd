"""The output of an evaluation: values, tables, the page of results, figures, and its MLflow runs."""

from pipelines.cluster.runner import Progress
from pipelines.evaluate.figures.figure_files import save_figure
from pipelines.evaluate.figures.pictures import count_pictures, draw_pictures
from pipelines.evaluate.findings import csv_findings
from pipelines.evaluate.fusions import Listener
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.page import write_page
from pipelines.evaluate.tables import csv_rows, latex
from pipelines.evaluate.tracking import track
from pipelines.storage import objects as storage
from pipelines.storage.parquet import write_table
from pipelines.tracking.run import TrackedRun


def write_output(evaluation: Evaluation, tracked: TrackedRun, on_progress: Listener) -> None:
    """Write values, tables and pictures, then the page that shows them, then `_SUCCESS.json`."""
    folder = evaluation.folder
    write_table(folder.values, evaluation.values)
    folder.write_text(folder.csv, csv_rows(evaluation.comparisons))
    folder.write_text(folder.latex, latex(evaluation.comparisons))
    folder.write_text(folder.findings, csv_findings(evaluation.findings))
    pictures = []
    for name, figure in () if evaluation.plan.config.no_pictures else draw_pictures(evaluation):
        pictures.append(save_figure(figure, storage.join(folder.pictures, name))[0])
        on_progress("drawing", Progress(count_pictures(evaluation.plan), len(pictures), unit="pictures"))
    folder.write_text(folder.page, write_page(evaluation, pictures))
    folder.write_json(folder.success, evaluation.counts)
    track(evaluation, tracked)
