# One file, six images:  docker build --target signal-engine --tag tocsin/signal-engine .
# Targets: market-ingest, signal-engine, alerting, paper-trader, api-gateway, and tools (the `tocsin` command).
# All of them share every layer up to `runtime`, so a node pulls the libraries once.

FROM python:3.11.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Libraries first: this layer changes only with the locks.
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/tocsin \
 && python -m pip --python /opt/tocsin/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements/run.txt

# Then our own packages, as wheels. The lock names all they need, so nothing is resolved here.
COPY libs libs
COPY services services
COPY cli cli
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels ./libs/* ./services/* ./cli \
 && python -m pip --python /opt/tocsin/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl


FROM python:3.11.14-slim-trixie AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tocsin" \
      org.opencontainers.image.description="Watches crypto markets and rings when something happens." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/tocsin /opt/tocsin
# The probes come from outside the container, so the health server listens on all its addresses. The root file system
# may be read-only: nothing is written but /tmp.
ENV PATH=/opt/tocsin/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TOCSIN__HEALTH__HOST=0.0.0.0 \
    TOCSIN__HEALTH__PORT=8081
WORKDIR /tmp
USER 10001:10001
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/readyz', timeout=4)"]


FROM runtime AS market-ingest
ENTRYPOINT ["python", "-m", "market_ingest"]

FROM runtime AS signal-engine
ENTRYPOINT ["python", "-m", "signal_engine"]

FROM runtime AS alerting
ENTRYPOINT ["python", "-m", "alerting"]

FROM runtime AS paper-trader
ENTRYPOINT ["python", "-m", "paper_trader"]

FROM runtime AS api-gateway
EXPOSE 8080
ENTRYPOINT ["python", "-m", "api_gateway"]

FROM runtime AS tools
HEALTHCHECK NONE
ENTRYPOINT ["tocsin"]
CMD ["--help"]
