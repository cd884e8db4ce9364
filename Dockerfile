ARG BASE_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04
FROM ${BASE_IMAGE}
# torch's wheels bring their own CUDA libraries: the smallest image that lets the container runtime hand in the driver
# will do, or any Debian 12 or Ubuntu 24.04 where there is no GPU.
#
#     docker build -t lazytorch .
#     docker run --gpus all -v "$PWD/data:/data" -v lazytorch-runs:/runs lazytorch data=images data.root=/data

# The distribution's own Python, whichever version that is; compile=true needs its headers and a compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /usr/local/lazytorch

# A host folder mounted at /runs must be writable by this user; otherwise add --user "$(id -u)" to docker run.
RUN useradd --uid 10001 --create-home lazytorch && install -d -o lazytorch -g lazytorch /data /runs
VOLUME ["/data", "/runs"]

# Of what runs here only matplotlib would write to the home directory, which may be read-only.
ENV PATH=/usr/local/lazytorch/bin:$PATH MPLCONFIGDIR=/tmp/matplotlib

# The dependencies first: their layer, gigabytes of it, outlives a change of the source.
COPY pyproject.toml /tmp/
RUN python -c 'import tomllib; print(*tomllib.load(open("/tmp/pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > /tmp/requirements.txt \
    && pip install --no-cache-dir -r /tmp/requirements.txt \
    && rm /tmp/pyproject.toml /tmp/requirements.txt
COPY . /tmp/lazytorch/
RUN pip install --no-cache-dir --no-deps /tmp/lazytorch && rm -r /tmp/lazytorch

# lazytorch writes to runs/ of the working directory: here, /runs.
USER 10001
WORKDIR /
ENTRYPOINT ["lazytorch"]
