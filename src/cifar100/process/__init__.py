"""This process: its processors, the signals that end it, the launcher that started it, the parent it ends with."""
