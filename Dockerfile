# docker build --tag lenet_lab .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" lenet_lab train experiment=digits
FROM python:3.12-slim

RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/lenet_lab

# The packages come first: a change of the code does not install them again. For GPUs: --build-arg CPU=
ARG CPU=1
ARG CI=1
ARG PIP_NO_CACHE_DIR=1
COPY Makefile requirements-build.lock requirements.lock ./
RUN make .venv/packages CPU=$CPU
COPY . .
RUN make .venv/installed CPU=$CPU && .venv/bin/python -m compileall -q src

# Runs, downloads and decoded images go to /work. The user may be any, also one whom the image does not know.
ENV PATH=/opt/lenet_lab/.venv/bin:$PATH HOME=/tmp USER=lab LENET_LAB_CACHE=/work/.cache/lenet_lab
RUN install --directory --owner=nobody /work
USER nobody
WORKDIR /work
ENTRYPOINT ["lenet-lab"]
