"""What a browser is shown: a front page, and the page of a process beside, if there is one."""
