// Time since the process began, for the question "how long until the first word?".
#pragma once

namespace mlxcpp::apps {

/// To be called first in main().
void start_clock();
/// What passed before main(): loading the program and its libraries.  In steps of the system's
/// clock tick (10 ms on Linux); 0 where the system does not say.
double seconds_before_main();
/// Since main() began.
double seconds_in_main();

/// The most memory that the process had so far, in bytes.
unsigned long long peak_process_memory();

}  // namespace mlxcpp::apps
