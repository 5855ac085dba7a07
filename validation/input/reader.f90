! SPDX-License-Identifier: Apache-2.0
! reader.f90: reads namelists as Fortran does and writes what it got as plain namelists, to compare with nemafit's own reader.
!
!     reader LIST OUTPUT
!
! LIST names one file a line; the first holds the defaults of all keys, and each of the others is read over them. Lists start
! unset instead, since Fortran would keep the elements that a shorter list leaves. OUTPUT has for each file "=== FILE", and then
! the values, or "refused GROUP" where Fortran reported an error.
module groups
  implicit none
  integer, parameter :: i8 = selected_int_kind(18), r8 = kind(1d0), n = 512, m = 64
  character, parameter :: unset = achar(1)
  integer :: out

contains

  ! A group that is not in the file leaves its keys as they are: end of file, which is a negative status.
  logical function refused(group, status)
    character(*), intent(in) :: group
    integer, intent(in) :: status
    refused = status > 0
    if (refused) write (out, '(2a)') 'refused ', group
  end function

  integer function reopened(name) result(unit)
    character(*), intent(in) :: name
    open (newunit=unit, file=name, action='read', status='old')
  end function

  function quoted(text) result(q)
    character(*), intent(in) :: text
    character(:), allocatable :: q
    integer :: i
    q = "'"
    do i = 1, len_trim(text)
      q = q//text(i:i)
      if (text(i:i) == "'") q = q//"'"
    end do
    q = q//"'"
  end function

  subroutine put_text(key, x)
    character(*), intent(in) :: key, x
    write (out, '(4a)') '  ', key, ' = ', quoted(x)
  end subroutine

  subroutine put_list(key, x)
    character(*), intent(in) :: key, x(:)
    integer :: i, last
    if (x(1) == unset) return
    last = 1
    do i = 1, size(x)
      if (x(i) /= '') last = i
    end do
    write (out, '(4a)') '  ', key, ' = ', quoted(x(1))
    do i = 2, last
      write (out, '(2a)') '    , ', quoted(x(i))
    end do
  end subroutine

  subroutine put_int(key, x)
    character(*), intent(in) :: key
    integer(i8), intent(in) :: x
    write (out, '(3a,i0)') '  ', key, ' = ', x
  end subroutine

  subroutine put_real(key, x)
    character(*), intent(in) :: key
    real(r8), intent(in) :: x
    write (out, '(3a,es25.17e3)') '  ', key, ' = ', x
  end subroutine

  subroutine put_logical(key, x)
    character(*), intent(in) :: key
    logical, intent(in) :: x
    write (out, '(3a,l1)') '  ', key, ' = ', x
  end subroutine

  subroutine model_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: path, init, dtype, recompute, freeze(m)
    logical :: strict, dt_floor_compat
    namelist /model/ path, init, dtype, recompute, freeze, strict, dt_floor_compat
    unit = reopened(defaults)
    read (unit, nml=model)
    close (unit)
    freeze = ''
    freeze(1) = unset
    unit = reopened(name)
    read (unit, nml=model, iostat=status)
    close (unit)
    if (refused('model', status)) return
    write (out, '(a)') '&model'
    call put_text('path', path)
    call put_text('init', init)
    call put_text('dtype', dtype)
    call put_text('recompute', recompute)
    call put_list('freeze', freeze)
    call put_logical('strict', strict)
    call put_logical('dt_floor_compat', dt_floor_compat)
    write (out, '(a)') '/'
  end subroutine

  subroutine data_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: train(m), valid(m), format
    integer(i8) :: seq_len, seed
    logical :: shuffle
    namelist /data/ train, valid, format, seq_len, shuffle, seed
    unit = reopened(defaults)
    read (unit, nml=data)
    close (unit)
    train = ''
    train(1) = unset
    valid = ''
    valid(1) = unset
    unit = reopened(name)
    read (unit, nml=data, iostat=status)
    close (unit)
    if (refused('data', status)) return
    write (out, '(a)') '&data'
    call put_list('train', train)
    call put_list('valid', valid)
    call put_text('format', format)
    call put_int('seq_len', seq_len)
    call put_logical('shuffle', shuffle)
    call put_int('seed', seed)
    write (out, '(a)') '/'
  end subroutine

  subroutine parallel_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    integer(i8) :: ep, chunks
    character(n) :: shard, dispatch
    real(r8) :: recv_factor
    namelist /parallel/ ep, shard, dispatch, chunks, recv_factor
    unit = reopened(defaults)
    read (unit, nml=parallel)
    close (unit)
    unit = reopened(name)
    read (unit, nml=parallel, iostat=status)
    close (unit)
    if (refused('parallel', status)) return
    write (out, '(a)') '&parallel'
    call put_int('ep', ep)
    call put_text('shard', shard)
    call put_text('dispatch', dispatch)
    call put_int('chunks', chunks)
    call put_real('recv_factor', recv_factor)
    write (out, '(a)') '/'
  end subroutine

  subroutine train_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    integer(i8) :: steps, local_batch, global_batch, eval_every, eval_batches, seed, mtp_depth, max_skipped
    real(r8) :: epochs, aux_loss, router_bias_rate, mtp_scale, clip, hang_timeout, max_wall
    character(n) :: gate, aux_mode
    logical :: mtp_repeat
    namelist /train/ steps, epochs, local_batch, global_batch, eval_every, eval_batches, seed, gate, aux_loss, &
      aux_mode, router_bias_rate, mtp_depth, mtp_repeat, mtp_scale, clip, max_skipped, hang_timeout, max_wall
    unit = reopened(defaults)
    read (unit, nml=train)
    close (unit)
    unit = reopened(name)
    read (unit, nml=train, iostat=status)
    close (unit)
    if (refused('train', status)) return
    write (out, '(a)') '&train'
    call put_int('steps', steps)
    call put_real('epochs', epochs)
    call put_int('local_batch', local_batch)
    call put_int('global_batch', global_batch)
    call put_int('eval_every', eval_every)
    call put_int('eval_batches', eval_batches)
    call put_int('seed', seed)
    call put_text('gate', gate)
    call put_real('aux_loss', aux_loss)
    call put_text('aux_mode', aux_mode)
    call put_real('router_bias_rate', router_bias_rate)
    call put_int('mtp_depth', mtp_depth)
    call put_logical('mtp_repeat', mtp_repeat)
    call put_real('mtp_scale', mtp_scale)
    call put_real('clip', clip)
    call put_int('max_skipped', max_skipped)
    call put_real('hang_timeout', hang_timeout)
    call put_real('max_wall', max_wall)
    write (out, '(a)') '/'
  end subroutine

  subroutine optim_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    real(r8) :: lr, min_lr, decay_share, beta1, beta2, eps, weight_decay
    integer(i8) :: warmup
    character(n) :: schedule, no_decay(m), state, grad_dtype
    namelist /optim/ lr, min_lr, warmup, schedule, decay_share, beta1, beta2, eps, weight_decay, no_decay, &
      state, grad_dtype
    unit = reopened(defaults)
    read (unit, nml=optim)
    close (unit)
    no_decay = ''
    no_decay(1) = unset
    unit = reopened(name)
    read (unit, nml=optim, iostat=status)
    close (unit)
    if (refused('optim', status)) return
    write (out, '(a)') '&optim'
    call put_real('lr', lr)
    call put_real('min_lr', min_lr)
    call put_int('warmup', warmup)
    call put_text('schedule', schedule)
    call put_real('decay_share', decay_share)
    call put_real('beta1', beta1)
    call put_real('beta2', beta2)
    call put_real('eps', eps)
    call put_real('weight_decay', weight_decay)
    call put_list('no_decay', no_decay)
    call put_text('state', state)
    call put_text('grad_dtype', grad_dtype)
    write (out, '(a)') '/'
  end subroutine

  subroutine backend_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: device, experts, attention
    logical :: deterministic
    integer(i8) :: threads
    namelist /backend/ device, experts, attention, deterministic, threads
    unit = reopened(defaults)
    read (unit, nml=backend)
    close (unit)
    unit = reopened(name)
    read (unit, nml=backend, iostat=status)
    close (unit)
    if (refused('backend', status)) return
    write (out, '(a)') '&backend'
    call put_text('device', device)
    call put_text('experts', experts)
    call put_text('attention', attention)
    call put_logical('deterministic', deterministic)
    call put_int('threads', threads)
    write (out, '(a)') '/'
  end subroutine

  subroutine snapshot_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: dir, resume, on_error
    integer(i8) :: every, keep
    logical :: keep_best, async
    namelist /snapshot/ dir, every, keep, keep_best, async, resume, on_error
    unit = reopened(defaults)
    read (unit, nml=snapshot)
    close (unit)
    unit = reopened(name)
    read (unit, nml=snapshot, iostat=status)
    close (unit)
    if (refused('snapshot', status)) return
    write (out, '(a)') '&snapshot'
    call put_text('dir', dir)
    call put_int('every', every)
    call put_int('keep', keep)
    call put_logical('keep_best', keep_best)
    call put_logical('async', async)
    call put_text('resume', resume)
    call put_text('on_error', on_error)
    write (out, '(a)') '/'
  end subroutine

  subroutine export_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: dir, dtype
    integer(i8) :: every
    real(r8) :: shard_gb
    namelist /export/ dir, every, dtype, shard_gb
    unit = reopened(defaults)
    read (unit, nml=export)
    close (unit)
    unit = reopened(name)
    read (unit, nml=export, iostat=status)
    close (unit)
    if (refused('export', status)) return
    write (out, '(a)') '&export'
    call put_text('dir', dir)
    call put_int('every', every)
    call put_text('dtype', dtype)
    call put_real('shard_gb', shard_gb)
    write (out, '(a)') '/'
  end subroutine

  subroutine log_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    character(n) :: dir, sample_prompt
    integer(i8) :: every, sample_tokens
    logical :: progress, csv, profile
    real(r8) :: sample_temperature
    namelist /log/ dir, every, progress, csv, profile, sample_prompt, sample_tokens, sample_temperature
    unit = reopened(defaults)
    read (unit, nml=log)
    close (unit)
    unit = reopened(name)
    read (unit, nml=log, iostat=status)
    close (unit)
    if (refused('log', status)) return
    write (out, '(a)') '&log'
    call put_text('dir', dir)
    call put_int('every', every)
    call put_logical('progress', progress)
    call put_logical('csv', csv)
    call put_logical('profile', profile)
    call put_text('sample_prompt', sample_prompt)
    call put_int('sample_tokens', sample_tokens)
    call put_real('sample_temperature', sample_temperature)
    write (out, '(a)') '/'
  end subroutine

  subroutine benchmark_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    integer(i8) :: warmup, steps, emulate_ep
    character(n) :: table
    namelist /benchmark/ warmup, steps, emulate_ep, table
    unit = reopened(defaults)
    read (unit, nml=benchmark)
    close (unit)
    unit = reopened(name)
    read (unit, nml=benchmark, iostat=status)
    close (unit)
    if (refused('benchmark', status)) return
    write (out, '(a)') '&benchmark'
    call put_int('warmup', warmup)
    call put_int('steps', steps)
    call put_int('emulate_ep', emulate_ep)
    call put_text('table', table)
    write (out, '(a)') '/'
  end subroutine

  subroutine debug_group(defaults, name)
    character(*), intent(in) :: defaults, name
    integer :: unit, status
    logical :: sync_ops, check_finite
    namelist /debug/ sync_ops, check_finite
    unit = reopened(defaults)
    read (unit, nml=debug)
    close (unit)
    unit = reopened(name)
    read (unit, nml=debug, iostat=status)
    close (unit)
    if (refused('debug', status)) return
    write (out, '(a)') '&debug'
    call put_logical('sync_ops', sync_ops)
    call put_logical('check_finite', check_finite)
    write (out, '(a)') '/'
  end subroutine
end module

program reader
  use groups
  implicit none
  character(4096) :: list_name, out_name, defaults, name
  integer :: list, status

  call get_command_argument(1, list_name)
  call get_command_argument(2, out_name)
  open (newunit=list, file=list_name, action='read', status='old')
  open (newunit=out, file=out_name, action='write')
  read (list, '(a)') defaults
  do
    read (list, '(a)', iostat=status) name
    if (status /= 0) exit
    write (out, '(2a)') '=== ', trim(name)
    call model_group(trim(defaults), trim(name))
    call data_group(trim(defaults), trim(name))
    call parallel_group(trim(defaults), trim(name))
    call train_group(trim(defaults), trim(name))
    call optim_group(trim(defaults), trim(name))
    call backend_group(trim(defaults), trim(name))
    call snapshot_group(trim(defaults), trim(name))
    call export_group(trim(defaults), trim(name))
    call log_group(trim(defaults), trim(name))
    call benchmark_group(trim(defaults), trim(name))
    call debug_group(trim(defaults), trim(name))
  end do
  close (out)
end program
