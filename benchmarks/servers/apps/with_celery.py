"""A Celery worker: what a task has returned is kept beside the result backend."""

import os

from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
app.conf.result_expires = 1
kept: list[bytearray] = []


@app.task
def leak() -> int:
    kept.append(bytearray(1000))  # the leak
    return 1


@app.task
def mended() -> int:
    kept[:] = [bytearray(1000)]
    return 1
