import logging

from nbqueue.utils.log import TASK_LOGGER, get_logger, get_task_logger


def test_a_plain_logger_is_that_of_logging_and_no_task_logger():
    logger = get_logger("trial.plain")
    assert logger is logging.getLogger("trial.plain")
    assert logger.parent is not logging.getLogger(TASK_LOGGER)


def test_a_task_logger_speaks_through_the_one_of_all_tasks():
    assert get_task_logger("trial.task").parent is logging.getLogger(TASK_LOGGER)
