"""PDF knowledge base: ingest every day. Needs apache-airflow-providers-papermill."""

from datetime import datetime

from airflow import DAG
from airflow.providers.papermill.operators.papermill import PapermillOperator

with DAG(
    dag_id="pdf-knowledge-ingest",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
) as dag:
    PapermillOperator(
        task_id="ingest",
        input_nb="/opt/pdf-knowledge/notebooks/ingest.ipynb",
        output_nb="/opt/pdf-knowledge/runs/ingest/{{ ts_nodash }}.ipynb",
        parameters={
            "config": "/opt/pdf-knowledge/config/pdf_knowledge.json",
            "source": "/data/reports",
        },
    )
