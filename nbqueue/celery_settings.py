"""Celery's settings that mean nothing here: setting one is allowed, and told once, with the reason.

So a configuration that was written for Celery is read without a change, and nobody believes in a switch
that is not connected.  Those that do mean something are rows of ``nbqueue.settings``.
"""

from collections.abc import Mapping

_EXCHANGES = "there are no exchanges: the queue says where a task goes"
_LINKS = "connections are made again by themselves, and what was not acknowledged is said again"
_ONE_URL = "the broker is named by one URL: broker_url"
_BACKEND = "there is no such result backend: the broker keeps results, see the setting backend"
_PREFETCH = "how many tasks a worker takes in advance adapts to how long they take"
_PARTS = "the parts of a worker cannot be exchanged"
_KEPT = "the broker keeps what it has accepted in its journal: see journal_sync"
_EVENTS = "events are sent when somebody listens"
_SHUTDOWN = "TERM lets what runs end; INT twice or QUIT gives it back"
_OUTCOME = "a run that ended has an outcome, of whatever kind, and is not delivered again"

#: name → why it has no effect
WITHOUT_EFFECT: Mapping[str, str] = {
    "beat_cron_starting_deadline": "beat_missed says what becomes of missed firings",
    "beat_enable_remote_control": "there is no beat process: the broker keeps the schedule",
    "beat_max_loop_interval": "the broker's own timers fire periodic tasks",
    "beat_remote_control_max_tick_age": "there is no beat process: the broker keeps the schedule",
    "beat_schedule_filename": "the broker keeps the schedule in its journal",
    "beat_scheduler": "the broker keeps the schedule itself",
    "beat_sync_every": "the broker keeps the schedule in its journal",
    "broker_channel_error_retry": _LINKS,
    "broker_connection_max_retries": _LINKS,
    "broker_connection_retry": _LINKS,
    "broker_connection_retry_on_startup": _LINKS,
    "broker_failover_strategy": _ONE_URL,
    "broker_heartbeat": "it is worker_heartbeat here",
    "broker_heartbeat_checkrate": "it is worker_lease here",
    "broker_host": _ONE_URL,
    "broker_login_method": "a broker lets in by key: see `nbqueue key`",
    "broker_native_delayed_delivery_queue_type": "the broker's own timers delay tasks",
    "broker_password": _ONE_URL,
    "broker_pool_acquire_timeout": "a process has one connection",
    "broker_pool_limit": "a process has one connection",
    "broker_port": _ONE_URL,
    "broker_read_url": _ONE_URL,
    "broker_transport": _ONE_URL,
    "broker_transport_options": "a broker needs none",
    "broker_use_ssl": "connections are always encrypted",
    "broker_user": _ONE_URL,
    "broker_vhost": _ONE_URL,
    "broker_write_url": _ONE_URL,
    "result_backend_always_retry": _LINKS,
    "result_backend_base_sleep_between_retries_ms": _LINKS,
    "result_backend_max_retries": _LINKS,
    "result_backend_max_sleep_between_retries_ms": _LINKS,
    "result_backend_transport_options": "results need none",
    "result_cache_max": "a client keeps the results that the program still holds",
    "result_chord_expires": "what a workflow still needs does not expire",
    "result_chord_join_timeout": "the broker starts a chord's body; nobody waits for its members",
    "result_chord_retry_interval": "the broker starts a chord's body; nobody polls",
    "result_compression": "values are sent as they are",
    "result_exchange": _EXCHANGES,
    "result_exchange_type": _EXCHANGES,
    "result_extended": "name, queue, worker and retries of a task are always known, its arguments until it ends",
    "result_failure_expires": "result_expires counts for all",
    "result_persistent": _KEPT,
    "task_acks_on_failure": _OUTCOME,
    "task_acks_on_failure_or_timeout": _OUTCOME,
    "task_acks_on_timeout": _OUTCOME,
    "task_allow_error_cb_on_chord_header": "link_error of a chord is called once, for its body",
    "task_compression": "arguments are sent as they are",
    "task_create_missing_queue_exchange_type": _EXCHANGES,
    "task_create_missing_queue_type": "there is one kind of queue",
    "task_create_missing_queues": "queues are made on use",
    "task_default_delivery_mode": _KEPT,
    "task_default_exchange": _EXCHANGES,
    "task_default_exchange_type": _EXCHANGES,
    "task_default_queue_type": "there is one kind of queue",
    "task_default_routing_key": _EXCHANGES,
    "task_protocol": "there is one protocol",
    "task_publish_retry_policy": "a client goes on trying until its broker is back, at exit for drain_timeout",
    "task_queue_max_priority": "every queue has the priorities 0 to 9",
    "task_reject_on_worker_lost": "max_task_deaths says how often a task may lose its worker",
    "task_remote_tracebacks": "exceptions always come with the worker's lines",
    "task_repr_maxlevels": "arguments are shown as they are, shortened",
    "task_retry_on_worker_lost": "max_task_deaths says how often a task may lose its worker",
    "task_send_sent_event": _EVENTS,
    "task_store_errors_even_if_ignored": "errors are always kept",
    "task_track_started": "STARTED is always reported, of tasks that take longer than 25 ms",
    "worker_agent": _PARTS,
    "worker_autoscaler": _PARTS,
    "worker_cancel_long_running_tasks_on_connection_loss": "a worker that has lost its broker finishes what it"
    " runs, and delivers when it is back",
    "worker_consumer": _PARTS,
    "worker_deduplicate_successful_tasks": "a task has one outcome, and does not run again after it",
    "worker_detect_quorum_queues": "there is one kind of queue",
    "worker_direct": "a queue of a worker's own is named by -Q",
    "worker_disable_prefetch": _PREFETCH,
    "worker_disable_rate_limits": "a rate is the task's: rate_limit, also by task_annotations",
    "worker_enable_prefetch_count_reduction": _PREFETCH,
    "worker_enable_soft_shutdown_on_idle": _SHUTDOWN,
    "worker_enable_remote_control": "the broker answers for workers: who may ask says a key's role",
    "worker_eta_task_limit": "the broker holds tasks until their time, not the worker",
    "worker_hijack_root_logger": "a worker's lines and those of tasks have loggers of their own",
    "worker_log_color": "a worker's lines have no colours",
    "worker_log_datefmt": "worker_log_format has the form of times in it",
    "worker_lost_wait": "the broker hears of a dead process at once: see worker_lease",
    "worker_pool_putlocks": _PARTS,
    "worker_pool_restarts": "`nbqueue control pool restart` is always allowed",
    "worker_pool_start_method": "processes are started anew, not forked",
    "worker_prefetch_multiplier": _PREFETCH,
    "worker_proc_alive_timeout": "the broker waits for its workers as long as it takes",
    "worker_redirect_stdouts": "what a task prints is its output: result.output",
    "worker_redirect_stdouts_level": "what a task prints is its output: result.output",
    "worker_send_task_events": _EVENTS,
    "worker_soft_shutdown_timeout": _SHUTDOWN,
    "worker_state_db": "the broker remembers what is revoked",
    "worker_task_log_datefmt": "worker_task_log_format has the form of times in it",
    "worker_timer": _PARTS,
    "worker_timer_precision": "the broker's own timers fire on time",
}

#: beginning of a name → why all of these have no effect
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "arangodb_", "azureblockblob_", "cache_", "cassandra_", "cosmosdbsql_", "couchbase_", "couchdb_",
            "database_", "django_", "dynamodb_", "elasticsearch_", "file_", "gcs_", "mongodb_", "riak_", "s3_",
        ),
        _BACKEND,
    ),
    "control_": "orders to workers travel over the broker's own connections",
    "event_": "events travel over the broker's own connections",
    "redis_": "what a Redis connection needs is part of its URL",
    "security_": "connections are always encrypted and authenticated: see `nbqueue key`",
}  # fmt: skip


def why_without_effect(name: str) -> str:
    """Why a setting of Celery's has no effect here, "" if it is none of those."""
    if name in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[name]
    return next((why for beginning, why in FAMILIES.items() if name.startswith(beginning)), "")
