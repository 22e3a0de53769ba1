"use strict";
if (REPORT.run) drawBreakdowns(REPORT.run);
if (REPORT.schedule) drawSchedule(REPORT.schedule);
if (REPORT.cache) drawCache(REPORT.cache);
if (REPORT.sweep) drawSweep(REPORT.sweep);
if (REPORT.tune) drawTune(REPORT.tune);
if (REPORT.serving) drawServing(REPORT.serving);
document.body.dataset.drawn = "yes";
