# Acuse with its own PostgreSQL: docker run -p 8000:8000 -v acuse:/data <image>
# With a database elsewhere: -e ACUSE_DATABASE_URL=postgresql://…

# The base by its tag. To pin it: --build-arg BASE=python:3.13-slim@sha256:…, with the digest that
# `docker buildx imagetools inspect python:3.13-slim` names on the day of the build.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/acuse
COPY requirements-run.lock .
RUN /opt/acuse/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY . .
RUN /opt/acuse/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin acuse \
    && install -d -o acuse -g acuse -m 0700 /data
COPY --from=build /opt/acuse /opt/acuse
ENV PATH=/opt/acuse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ACUSE_DATA_DIR=/data \
    ACUSE_HOST=0.0.0.0
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# The embedded database writes its last checkpoint when asked to stop: give it time (docker stop -t 60).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('ACUSE_PORT', '8000') + '/healthz', timeout=2)"]
CMD ["acuse", "run"]
