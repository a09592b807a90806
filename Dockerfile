# One image for driver and workers: versions must be the same on both sides of a Dask cluster.
FROM python:3.12-slim
WORKDIR /opt/landfuse
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
COPY flows flows
# Say which torch you want: the CPU index by default, https://download.pytorch.org/whl/cu126 for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt . \
    && useradd --create-home landfuse
USER landfuse
WORKDIR /data
ENV PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
ENTRYPOINT ["landfuse"]
CMD ["--help"]
