"""Commands on simulated worlds: collecting episodes, planning in closed loop."""
