# gluon_a2 for CPUs, or with --build-arg DEVICE=cu112 for NVIDIA GPUs: CUDA comes by pip, the driver from the host.
# It has not been built where it was written: no container engine runs there. tools/setup.sh, its one step, is what make runs.
#
#   docker build -t gluon_a2 . && docker run --rm -v "$PWD/photos:/photos" gluon_a2 predict --model /photos/x.onnx /photos
FROM python:3.13-slim
ARG DEVICE=cpu
# g++ brings the libraries that MXNet links against (libgomp, libquadmath), and is what `make horovod` needs.
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /gluon_a2
COPY . .
RUN sh tools/setup.sh .venv $DEVICE
ENTRYPOINT [".venv/bin/gluon-a2"]
