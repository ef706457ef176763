from tests.launch.isolation import folders

__all__ = ["folders"]
