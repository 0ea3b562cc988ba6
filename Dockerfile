# One image for every role: `docker run IMAGE consumer`, `... compactor`, `... server`, `... agent`.
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
RUN for wheel in /wheels/*.whl; do \
        pip install --no-cache-dir --constraint /wheels/constraints.txt "$wheel[server,s3]" || exit 1; \
    done \
    && rm -r /wheels \
    && useradd --uid 10001 --no-create-home runstream \
    && install -d -o runstream -g runstream -m 0750 /var/lib/runstream /var/lib/runstream/store /var/lib/runstream/spool
# Volumes made from these directories get their owner, so that nothing runs as root.
USER runstream
ENV RUNSTREAM_HOME=/var/lib/runstream RUNSTREAM_AUTOSTART=0 PYTHONUNBUFFERED=1
ENTRYPOINT ["runstream"]
CMD ["--help"]
