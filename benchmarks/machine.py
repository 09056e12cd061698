"""What the measurements ran on, and how a row of them is summed up."""

import os
import platform
import statistics
from importlib import metadata


def processor():
    """Returns the name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def version(package):
    """Returns the installed version of a package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def versions(**packages):
    """Returns "Python 3, NAME VERSION, ..." for names and the packages that they are called in the registry."""
    return ", ".join([f"Python {platform.python_version()}", *(f"{k} {version(v)}" for k, v in packages.items())])


def machine(cores):
    """Returns processor, cores in use and operating system as one line."""
    return f"{processor()}, {cores} of {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def quartiles(values):
    """Returns the median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def ratios(over, under):
    """Returns the ratios of two rows of measurements, repeat by repeat."""
    return [a / b for a, b in zip(over, under)]


def cell(values, form=".2f"):
    """Returns "MEDIAN (QUARTILE to QUARTILE)"."""
    return "{:{form}} ({:{form}} to {:{form}})".format(*quartiles(values), form=form)


def table(title, *columns):
    """Prints the head of a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells):
    """Prints a row of it."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
