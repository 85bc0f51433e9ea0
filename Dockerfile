# The service alone: no PyTorch, no compiler, nobody's root.
#
#   docker build -t convscope .
#   docker build -t convscope:gpu --build-arg VARIANT=gpu .
#
# onnxruntime-gpu 1.31 wants CUDA 13 and cuDNN 9. The gpu variant has been built on another base and has served without a
# GPU; on NVIDIA's base, with a GPU, nobody has tried it yet.
ARG VARIANT=cpu
ARG PYTHON_IMAGE=python:3.11-slim
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04

FROM ${PYTHON_IMAGE} AS cpu

FROM ${CUDA_IMAGE} AS gpu
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*

FROM ${VARIANT} AS build
ARG VARIANT
# Where pip finds packages, if not where it always does. A certificate comes in as a secret and is no part of any layer:
# --secret id=certificates,src=FILE --build-arg PIP_CERT=/run/secrets/certificates
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
WORKDIR /build
RUN python3 -m venv /opt/convscope
COPY pyproject.toml constraints.txt ./
# Of the project itself this installs the name and the version only, so that editing it keeps this layer.
RUN --mount=type=secret,id=certificates \
    touch README.md LICENSE \
 && /opt/convscope/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".[${VARIANT}]" \
 && /opt/convscope/bin/python -m pip uninstall --yes --quiet setuptools pip
COPY service service
RUN python3 -m compileall -q --invalidation-mode unchecked-hash service

FROM ${VARIANT}
ENV PATH=/opt/convscope/bin:$PATH \
    CONVSCOPE_HOST=0.0.0.0 \
    CONVSCOPE_MODELS=/models
WORKDIR /app
COPY --from=build /opt/convscope /opt/convscope
COPY deploy/healthcheck.py ./
COPY models /models
COPY --from=build /build/service service
USER 10001:10001
EXPOSE 8000
# Docker knows one kind of health; its `--wait` and `depends_on` mean "can be used", so it is readiness.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-IS", "healthcheck.py"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
ARG REVISION
LABEL org.opencontainers.image.title="convscope" \
      org.opencontainers.image.description="Serves convolutional networks from ONNX, and shows every layer at work" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
