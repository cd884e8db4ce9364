ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE_IMAGE}
# torch's wheels bring their own CUDA libraries: the smallest image that lets the container runtime hand in the driver
# will do, or any Debian 12 or Ubuntu 24.04 where there is no GPU.
#
#     docker build -t lazytorch .
#     docker run --gpus all -v "$PWD/data:/data" -v lazytorch-runs:/runs lazytorch data=images data.root=/data

# The distribution's own Python, whichever version that is:
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /usr/local/lazytorch
ENV PATH=/usr/local/lazytorch/bin:$PATH

# The dependencies first: their layer, gigabytes of it, outlives a change of the source.
WORKDIR /usr/local/src/lazytorch
COPY pyproject.toml ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > requirements.txt \
    && pip install --no-cache-dir -r requirements.txt
COPY README.md LICENSE ./
COPY lazytorch lazytorch
COPY conf conf
RUN pip install --no-cache-dir --no-deps .

# A host folder mounted at /runs must be writable by this user; otherwise add --user "$(id -u)" to docker run.
RUN useradd --uid 10001 --create-home lazytorch && install -d -o lazytorch -g lazytorch /data /runs
USER 10001
VOLUME ["/data", "/runs"]

# lazytorch writes to runs/ of the working directory: here, /runs.
WORKDIR /
ENTRYPOINT ["lazytorch"]
