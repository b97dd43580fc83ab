"""The packed file: a trained model with its tables compressed, as it is written, read and served.

``codes``, ``table``, ``manifest`` and ``file`` need numpy alone; what stands on torch is imported where it is used.
"""
