"""The report: everything that is known about runs and stores on one HTML page that needs no network."""
