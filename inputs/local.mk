# SPDX-License-Identifier: Apache-2.0
# Runnable namelists, installed below share/nemafit/inputs.
nobase_dist_pkgdata_DATA +=
