"""A server by FastAPI: POST an image, get its classes.

    pip install fastapi uvicorn
    cd examples && MODEL=../exported/fast.onnx uvicorn serve_fastapi:app --workers 2
"""
import os

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from gluon_a2.data import ImageError, decode
from gluon_a2.deploy import Classifier

app, classifier = FastAPI(), Classifier(os.environ['MODEL'])


@app.post('/')
async def answer(request: Request):
    """{class: probability}, the three most probable; 400 for what is no image."""
    content = await request.body()
    try:
        image = decode(content)
    except ImageError as error:
        raise HTTPException(400, str(error)) from error
    return dict(await run_in_threadpool(classifier.predict, image, 3))
