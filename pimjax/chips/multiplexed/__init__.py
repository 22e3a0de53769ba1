"""The physical chip: groups of experts share the peripherals of their crossbars, and routing decides what that costs.

`schedule_inputs(config, trace, *, fidelity, capacity=None) -> MultiplexedSchedule`   host, NumPy leaves
`multiplexed_cost(design, schedule, *, capacity, fidelity) -> RunCost`                kernel, "fluid" or "closed"
`simulate(config, trace) -> Simulation(cost, logs, ...)`                              host, exact, float64
"""
