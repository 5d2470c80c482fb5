"""When PostgreSQL looks after the two tables that change at every step."""

from django.db import migrations


TABLES = ("sagas_sagarun", "sagas_steprun")
OPTIONS = {
    # The hot statements are planned once, and again after each ANALYZE. Below a thousand changes the
    # tables may be so small that reading them whole looks cheaper than an index, and the burst that
    # comes next would be read whole, too, until the next ANALYZE.
    "autovacuum_analyze_threshold": 1000,
    "autovacuum_vacuum_threshold": 1000,
    # Every step leaves two dead versions, so a fifth of a large table is too late.
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_scale_factor": 0.02,
}


def set_options(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        wanted = ", ".join(f"{name} = {value}" for name, value in OPTIONS.items())
        for table in TABLES:
            schema_editor.execute(f"ALTER TABLE {table} SET ({wanted})")


def reset_options(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(f"ALTER TABLE {table} RESET ({', '.join(OPTIONS)})")


class Migration(migrations.Migration):
    dependencies = [("sagas", "0001_initial")]
    operations = [migrations.RunPython(set_options, reset_options, elidable=False)]
