"""The audit trail can be shortened from its far end: by who says until when, and never within its last 30 days."""

from django.db import migrations

KEEP = """
CREATE OR REPLACE FUNCTION tenants_auditevent_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := nullif(current_setting('tollgate.trail_expires', true), '')::timestamptz;
BEGIN
    IF TG_OP = 'DELETE' AND OLD.at < until AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'The audit trail is written, never changed.' USING ERRCODE = 'restrict_violation';
END $$;
"""
BEFORE = """
CREATE OR REPLACE FUNCTION tenants_auditevent_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit trail is written, never changed.' USING ERRCODE = 'restrict_violation';
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0015_alert_rules")]

    operations = [migrations.RunSQL(KEEP, BEFORE)]
