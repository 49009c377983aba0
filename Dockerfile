# docker build --tag lenet_lab .
# docker run --rm --volume "$PWD/runs:/work/runs" lenet_lab train experiment=digits
FROM python:3.12-slim

RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home lab && mkdir /work && chown lab /work
USER lab
WORKDIR /work

# The packages come first: a change of the code does not install them again. For GPUs: --build-arg CPU=
ARG CPU=1
ENV CI=1 PIP_NO_CACHE_DIR=1
COPY --chown=lab Makefile requirements-build.lock requirements.lock ./
RUN make .venv/packages CPU=$CPU
COPY --chown=lab . .
RUN make .venv/installed CPU=$CPU

ENV PATH=/work/.venv/bin:$PATH
ENTRYPOINT ["lenet-lab"]
