"""What people look at: pictures of detections, curves, tables and the report. Nothing here needs Jittor.

    charts/              line and bar charts: what they show (chart.py), how matplotlib draws them (figure.py)
    curves.py            a run's metrics.jsonl as charts, and as curves.png
    calibration_charts.py
    drawing.py           boxes with names and scores on an image
    contact_sheet.py     several images in one PNG
    picture_folder.py    every image of a task, drawn: drawn/
    highlights.py        the best and the worst images of an evaluation
    live/                a page of a run while it runs
    weights_and_biases/  a run's numbers and pictures go to W&B
    table.py             tables in a terminal
    html.py              the report: templates/report.html, its look in templates/report.css
    parts/               what a section of the report is made of, one file for each kind

A new picture in the report is a function here that returns a part (or a chart, for a `Figure`) and takes numpy arrays;
`trainer.recipe.page` says in which section it stands. A new kind of part is a file in parts/.
"""
