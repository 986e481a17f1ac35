"""From facts and figures to HTML: templates, and figures as parts of a page."""
